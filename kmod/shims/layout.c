/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Where the kernel has the fields that the module touches.  The same numbers
 * stand in src/kernel/layout.rs: the C compiler and bindgen must agree.
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/capsicum.h>
#include <sys/ktrace.h>
#include <sys/pcpu.h>
#include <sys/proc.h>
#include <sys/sysent.h>

#include <machine/pcb.h>

#include "shims.h"

#define SIZE(type, n)                                                          \
	_Static_assert(sizeof(struct type) == (n), "size of struct " #type)
#define FIELD(type, field, offset)                                             \
	_Static_assert(__offsetof(struct type, field) == (offset),             \
	    "offset of " #type "." #field)

#ifdef __aarch64__
#include "../src/machine/arm64.h"
#else
#include "../src/machine/amd64.h"
#endif

#include "../src/release/release.h"

FIELD(proc, p_list, 0);
FIELD(proc, p_threads, 16);
FIELD(proc, p_flag, 184);
FIELD(proc, p_state, 192);
FIELD(proc, p_pid, 196);
FIELD(proc, p_pglist, 216);
FIELD(proc, p_pptr, 232);
FIELD(proc, p_sibling, 240);
FIELD(proc, p_children, 256);
FIELD(proc, p_traceflag, 832);
FIELD(proc, p_ktrioparms, 840);
FIELD(proc, p_comm, 992);
FIELD(proc, p_sysent, 1016);
FIELD(proc, p_numthreads, 1104);

FIELD(thread, td_proc, 8);
FIELD(thread, td_plist, 16);
FIELD(thread, td_tid, 160);
FIELD(thread, td_ast, 268);
FIELD(thread, td_pflags, 276);

FIELD(pcpu, pc_curthread, 0);
FIELD(pcpu, pc_cpuid, 60);

SIZE(pgrp, 120);
FIELD(pgrp, pg_members, 16);

SIZE(syscall_args, 80);
FIELD(syscall_args, code, 0);
FIELD(syscall_args, callp, 8);

SIZE(sysent, 32);
FIELD(sysent, sy_flags, 17);

FIELD(sysentvec, sv_flags, 192);

SIZE(ktr_header, 64);
FIELD(ktr_header, ktr_len, 0);
FIELD(ktr_header, ktr_type, 4);
FIELD(ktr_header, ktr_version, 6);
FIELD(ktr_header, ktr_pid, 8);
FIELD(ktr_header, ktr_comm, 12);
FIELD(ktr_header, ktr_time, 32);
FIELD(ktr_header, ktr_tid, 48);
FIELD(ktr_header, ktr_cpu, 56);

SIZE(ktr_syscall, 16);
FIELD(ktr_syscall, ktr_code, 0);
FIELD(ktr_syscall, ktr_narg, 2);
FIELD(ktr_syscall, ktr_args, 8);

SIZE(ktr_sysret, 16);
FIELD(ktr_sysret, ktr_code, 0);
FIELD(ktr_sysret, ktr_eosys, 2);
FIELD(ktr_sysret, ktr_error, 4);
FIELD(ktr_sysret, ktr_retval, 8);

SIZE(ktr_genio, 8);
FIELD(ktr_genio, ktr_fd, 0);
FIELD(ktr_genio, ktr_rw, 4);

SIZE(ktr_psig, 40);
FIELD(ktr_psig, signo, 0);
FIELD(ktr_psig, action, 8);
FIELD(ktr_psig, code, 16);
FIELD(ktr_psig, mask, 20);

SIZE(ktr_csw, 16);
FIELD(ktr_csw, out, 0);
FIELD(ktr_csw, user, 4);
FIELD(ktr_csw, wmesg, 8);

SIZE(ktr_proc_ctor, 4);
FIELD(ktr_proc_ctor, sv_flags, 0);

SIZE(ktr_cap_fail, 1040);
FIELD(ktr_cap_fail, cap_type, 0);
FIELD(ktr_cap_fail, cap_code, 4);
FIELD(ktr_cap_fail, cap_svflags, 8);
FIELD(ktr_cap_fail, cap_data, 16);

SIZE(ktr_fault, 16);
FIELD(ktr_fault, vaddr, 0);
FIELD(ktr_fault, type, 8);

SIZE(ktr_faultend, 4);
FIELD(ktr_faultend, result, 0);

SIZE(ktr_struct_array, 8);
FIELD(ktr_struct_array, struct_size, 0);
