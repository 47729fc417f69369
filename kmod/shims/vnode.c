/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/vnode.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mount.h>
#include <sys/vnode.h>

#include "shims.h"

bool
ktrace_rs_vn_is_regular(struct vnode *vp)
{
	return (vp->v_type == VREG);
}

bool
ktrace_rs_vn_is_remote(struct vnode *vp)
{
	struct mount *mp = vp->v_mount;

	return (mp != NULL && (mp->mnt_flag & MNT_LOCAL) == 0);
}
