/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sched.h and sys/smp.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/smp.h>

#include "shims.h"

bool
ktrace_rs_cpu_absent(int cpu)
{
	return (CPU_ABSENT(cpu));
}

void
ktrace_rs_sched_bind(int cpu)
{
	thread_lock(curthread);
	sched_bind(curthread, cpu);
	thread_unlock(curthread);
}

void
ktrace_rs_sched_unbind(void)
{
	thread_lock(curthread);
	sched_unbind(curthread);
	thread_unlock(curthread);
}
