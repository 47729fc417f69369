/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * FreeBSD 15, for C.
 */

/* This header wants to know who reads it. */
#define EXTERR_CATEGORY EXTERR_KTRACE
#include <sys/exterrvar.h>

/* Kernels from 15.1 on have it. */
#if __FreeBSD_version < 1501000
void ktrcsw_out(const struct timespec *tv, const char *wmesg);
#endif

/* What a probe of sys/sdt.h calls. */
#define SDT_PROBE_CALLS sdt_probe
