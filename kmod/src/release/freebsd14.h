/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * FreeBSD 14, for C.
 */

/* What a probe of sys/sdt.h calls. */
#define SDT_PROBE_CALLS sdt_probe_func
