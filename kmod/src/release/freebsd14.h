/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * FreeBSD 14, for C.
 */

/* What a probe of sys/sdt.h calls. */
#define SDT_PROBE_CALLS sdt_probe_func

/*
 * Where it has the fields that the module touches and that other releases
 * have elsewhere.  The same numbers stand in freebsd14.rs.
 */
#ifdef FIELD
SIZE(sysentvec, 392);

FIELD(thread, td_ucred, 384);
FIELD(thread, td_generation, 676);
FIELD(thread, td_name, 724);
FIELD(thread, td_state, 1112);
FIELD(thread, td_sa, 1008);
FIELD(thread, td_pcb, 1104);
FIELD(thread, td_kstack, 1216);
FIELD(thread, td_kstack_pages, 1224);

#ifdef __aarch64__
SIZE(proc, 1352);
SIZE(thread, 1512);
FIELD(thread, td_oncpu, 1476);
FIELD(thread, td_ktr_io_lim, 1504);
#else
SIZE(proc, 1376);
SIZE(thread, 1776);
FIELD(thread, td_oncpu, 1740);
FIELD(thread, td_ktr_io_lim, 1768);
#endif
#endif
