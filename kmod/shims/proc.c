/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/proc.h
 */

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/proc.h>

#include "shims.h"

bool
ktrace_rs_has_stop_signal(struct thread *td)
{
	sigset_t pending;

	pending = td->td_siglist;
	SIGSETOR(pending, td->td_proc->p_siglist);
	return (SIGISMEMBER(pending, SIGSTOP) || SIGISMEMBER(pending, SIGTSTP) ||
		SIGISMEMBER(pending, SIGTTIN) || SIGISMEMBER(pending, SIGTTOU));
}

void
ktrace_rs_pgrp_unlock(struct pgrp *pg)
{
	PGRP_UNLOCK(pg);
}

void
ktrace_rs_proc_lock(struct proc *p)
{
	PROC_LOCK(p);
}

void
ktrace_rs_proc_unlock(struct proc *p)
{
	PROC_UNLOCK(p);
}
