/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sx.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/lock.h>
#include <sys/sx.h>

#include "shims.h"

void
ktrace_rs_sx_destroy(struct sx *sx)
{
	sx_destroy(sx);
}

void
ktrace_rs_sx_init(struct sx *sx, const char *name)
{
	sx_init(sx, name);
}

void
ktrace_rs_sx_slock(struct sx *sx)
{
	sx_slock(sx);
}

void
ktrace_rs_sx_sunlock(struct sx *sx)
{
	sx_sunlock(sx);
}

bool
ktrace_rs_sx_try_xlock(struct sx *sx)
{
	return (sx_try_xlock(sx) != 0);
}
