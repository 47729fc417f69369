/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Macros and inline functions of the kernel headers as functions that Rust can
 * call.  There is one file for each header, without logic.  A function has the
 * context of the macro that it wraps.
 */

#ifndef KTRACE_RS_SHIMS_H
#define KTRACE_RS_SHIMS_H

#include <sys/param.h>
#include <sys/counter.h>
#include <sys/queue.h>
#include <sys/linker.h>
#include <sys/module.h>
#include <sys/vnode.h>

struct mtx;
struct pgrp;
struct proc;
struct sx;
struct thread;
struct ucred;

/* linker.c */
bool ktrace_rs_is_static(c_linker_sym_t symbol, const struct linker_symval *values);

/* malloc.c */
void ktrace_rs_free(void *memory);
void ktrace_rs_free_iov(void *uio);
void *ktrace_rs_malloc(size_t size, int flags);
void ktrace_rs_malloc_init(void);
void ktrace_rs_malloc_uninit(void);

/* module.c; the handler is in Rust. */
extern moduledata_t ktrace_rs_module;
int ktrace_rs_modevent(struct module *mod, int what, void *arg);

/* mutex.c */
void ktrace_rs_mtx_destroy(struct mtx *mtx);
void ktrace_rs_mtx_init(struct mtx *mtx, const char *name);
void ktrace_rs_mtx_sleep(
    const void *channel, struct mtx *mtx, const char *wmesg, sbintime_t timeout);

/* namei.c */
int ktrace_rs_vn_open(const char *user_path, int flags, struct vnode **vpp);

/* proc.c */
bool ktrace_rs_has_stop_signal(struct thread *td);
void ktrace_rs_pgrp_unlock(struct pgrp *pg);
void ktrace_rs_proc_lock(struct proc *p);
void ktrace_rs_proc_unlock(struct proc *p);

/* sdt.c */
extern volatile bool *ktrace_rs_sdt_watched;
void ktrace_rs_sdt_committed(struct vnode *vp, size_t bytes, uint64_t records, uint64_t ns);
void ktrace_rs_sdt_dropped(int type);
void ktrace_rs_sdt_full_begin(struct vnode *vp);
void ktrace_rs_sdt_full_end(struct vnode *vp);
void ktrace_rs_sdt_init(void);
void ktrace_rs_sdt_made(int type, size_t len, bool may_sleep);
void ktrace_rs_sdt_queued(int type, size_t len, size_t queued);

/* sx.c */
void ktrace_rs_sx_destroy(struct sx *sx);
void ktrace_rs_sx_init(struct sx *sx, const char *name);
void ktrace_rs_sx_slock(struct sx *sx);
void ktrace_rs_sx_sunlock(struct sx *sx);
bool ktrace_rs_sx_try_xlock(struct sx *sx);

/* ucred.c */
gid_t ktrace_rs_cr_gid(struct ucred *cred);

/* vnode.c */
bool ktrace_rs_vn_is_regular(struct vnode *vp);
bool ktrace_rs_vn_is_remote(struct vnode *vp);

#endif
