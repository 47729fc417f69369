/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sdt.h
 *
 * A kernel without options KDTRACE_HOOKS lacks the names that a probe refers
 * to.  They are weak here, and without them no probe is watched.
 */

#ifndef KDTRACE_HOOKS
#define KDTRACE_HOOKS
#endif

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/sdt.h>

#include "../src/release/release.h"
#include "shims.h"

extern __typeof(sdt_probes_enabled) sdt_probes_enabled __weak_symbol;
extern __typeof(SDT_PROBE_CALLS) SDT_PROBE_CALLS __weak_symbol;

SDT_PROVIDER_DEFINE(ktrace_rs);
SDT_PROBE_DEFINE3(ktrace_rs, , , made, "int", "size_t", "bool");
SDT_PROBE_DEFINE3(ktrace_rs, , , queued, "int", "size_t", "size_t");
SDT_PROBE_DEFINE4(ktrace_rs, , , committed, "struct vnode *", "size_t", "uint64_t", "uint64_t");
SDT_PROBE_DEFINE1(ktrace_rs, , , dropped, "int");
SDT_PROBE_DEFINE1(ktrace_rs, , , full__begin, "struct vnode *");
SDT_PROBE_DEFINE1(ktrace_rs, , , full__end, "struct vnode *");

static volatile bool nobody;

volatile bool *ktrace_rs_sdt_watched = &nobody;

void
ktrace_rs_sdt_init(void)
{
	if (&sdt_probes_enabled != NULL)
		ktrace_rs_sdt_watched = &sdt_probes_enabled;
}

void
ktrace_rs_sdt_committed(struct vnode *vp, size_t bytes, uint64_t records, uint64_t ns)
{
	SDT_PROBE4(ktrace_rs, , , committed, vp, bytes, records, ns);
}

void
ktrace_rs_sdt_dropped(int type)
{
	SDT_PROBE1(ktrace_rs, , , dropped, type);
}

void
ktrace_rs_sdt_full_begin(struct vnode *vp)
{
	SDT_PROBE1(ktrace_rs, , , full__begin, vp);
}

void
ktrace_rs_sdt_full_end(struct vnode *vp)
{
	SDT_PROBE1(ktrace_rs, , , full__end, vp);
}

void
ktrace_rs_sdt_made(int type, size_t len, bool may_sleep)
{
	SDT_PROBE3(ktrace_rs, , , made, type, len, may_sleep);
}

void
ktrace_rs_sdt_queued(int type, size_t len, size_t queued)
{
	SDT_PROBE3(ktrace_rs, , , queued, type, len, queued);
}
