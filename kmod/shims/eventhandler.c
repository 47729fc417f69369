/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/eventhandler.h
 */

#include <sys/param.h>
#include <sys/eventhandler.h>
#include <sys/proc.h>

#include "shims.h"

void
ktrace_rs_deregister_process_exit(eventhandler_tag tag)
{
	EVENTHANDLER_DEREGISTER(process_exit, tag);
}

eventhandler_tag
ktrace_rs_register_process_exit(void (*handler)(void *, struct proc *))
{
	return (EVENTHANDLER_REGISTER(
	    process_exit, handler, NULL, EVENTHANDLER_PRI_LAST));
}
