/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/namei.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/fcntl.h>
#include <sys/namei.h>
#include <sys/vnode.h>

#include "shims.h"

/* Opens a file.  On success *vpp is locked and referenced. */
int
ktrace_rs_vn_open(const char *user_path, int flags, struct vnode **vpp)
{
	struct nameidata nd;
	int error;

	NDINIT(&nd, LOOKUP, NOFOLLOW, UIO_USERSPACE, user_path);
	error = vn_open(&nd, &flags, 0, NULL);
	if (error != 0)
		return (error);
	NDFREE_PNBUF(&nd);
	*vpp = nd.ni_vp;
	return (0);
}
