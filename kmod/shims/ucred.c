/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/ucred.h
 */

#include <sys/param.h>
#include <sys/ucred.h>

#include "shims.h"

gid_t
ktrace_rs_cr_gid(struct ucred *cred)
{
	return (cred->cr_gid);
}
