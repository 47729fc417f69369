/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/vnode.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/vnode.h>

#include "shims.h"

bool
ktrace_rs_vn_is_regular(struct vnode *vp)
{
	return (vp->v_type == VREG);
}

/* Exclusively, and also if the vnode is dead. */
void
ktrace_rs_vn_lock(struct vnode *vp)
{
	(void)vn_lock(vp, LK_EXCLUSIVE | LK_RETRY);
}

/*
 * VOP_UNLOCK() comes from a header that only a kernel build generates: take one
 * more reference and drop it together with the lock.
 */
void
ktrace_rs_vn_unlock(struct vnode *vp)
{
	vrefact(vp);
	vput(vp);
}
