/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * FreeBSD 15, for C.
 */

/* This header wants to know who reads it. */
#define EXTERR_CATEGORY EXTERR_KTRACE
#include <sys/exterrvar.h>

/* What a probe of sys/sdt.h calls. */
#define SDT_PROBE_CALLS sdt_probe

/*
 * Where it has the fields that the module touches and that other releases
 * have elsewhere.  The same numbers stand in freebsd15.rs.
 */
#ifdef FIELD
SIZE(sysentvec, 416);

FIELD(thread, td_ucred, 392);
FIELD(thread, td_generation, 684);
FIELD(thread, td_name, 732);
FIELD(thread, td_state, 1160);
FIELD(thread, td_sa, 1048);
FIELD(thread, td_pcb, 1152);
FIELD(thread, td_kstack, 1264);
FIELD(thread, td_kstack_pages, 1272);

#ifdef __aarch64__
SIZE(proc, 1360);
SIZE(thread, 1560);
FIELD(thread, td_oncpu, 1524);
FIELD(thread, td_ktr_io_lim, 1552);
#else
SIZE(proc, 1368);
SIZE(thread, 1824);
FIELD(thread, td_oncpu, 1788);
FIELD(thread, td_ktr_io_lim, 1816);
#endif
#endif
