/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Where FreeBSD 14 has the fields that the module touches, and others need not.
 * The same numbers stand in freebsd14.rs.
 */

SIZE(proc, 1376);
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

SIZE(thread, 1776);
FIELD(thread, td_proc, 8);
FIELD(thread, td_plist, 16);
FIELD(thread, td_tid, 160);
FIELD(thread, td_ast, 268);
FIELD(thread, td_pflags, 276);
FIELD(thread, td_ucred, 384);
FIELD(thread, td_generation, 676);
FIELD(thread, td_name, 724);
FIELD(thread, td_state, 1112);
FIELD(thread, td_sa, 1008);
FIELD(thread, td_pcb, 1104);
FIELD(thread, td_kstack, 1216);
FIELD(thread, td_kstack_pages, 1224);
FIELD(thread, td_oncpu, 1740);
FIELD(thread, td_ktr_io_lim, 1768);

SIZE(sysentvec, 392);
FIELD(sysentvec, sv_flags, 192);
