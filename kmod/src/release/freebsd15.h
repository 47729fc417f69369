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
