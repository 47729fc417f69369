/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/mutex.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/lock.h>
#include <sys/mutex.h>

#include "shims.h"

void
ktrace_rs_mtx_destroy(struct mtx *mtx)
{
	mtx_destroy(mtx);
}

void
ktrace_rs_mtx_init(struct mtx *mtx, const char *name)
{
	mtx_init(mtx, name, NULL, MTX_DEF | MTX_QUIET);
}

void
ktrace_rs_mtx_sleep(const void *channel, struct mtx *mtx, const char *wmesg, sbintime_t timeout)
{
	msleep_sbt(channel, mtx, 0, wmesg, timeout, 0, 0);
}
