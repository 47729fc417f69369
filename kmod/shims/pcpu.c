/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/pcpu.h and sys/counter.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/counter.h>
#include <sys/pcpu.h>

#include "shims.h"

void
ktrace_rs_counter_u64_add(counter_u64_t counter, int64_t n)
{
	counter_u64_add(counter, n);
}

int
ktrace_rs_cpuid(void)
{
	return (PCPU_GET(cpuid));
}

struct thread *
ktrace_rs_curthread(void)
{
	return (curthread);
}
