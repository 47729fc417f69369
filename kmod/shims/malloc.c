/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/malloc.h
 */

#include <sys/param.h>
#include <sys/malloc.h>

#include "shims.h"

static MALLOC_DEFINE(M_KTRACE_RS, "ktrace_rs", "ktrace_rs records and state");

void
ktrace_rs_free(void *memory)
{
	free(memory, M_KTRACE_RS);
}

/* The copy of a uio that a trace point gives away (sys/uio.h: cloneuio()). */
void
ktrace_rs_free_iov(void *uio)
{
	free(uio, M_IOV);
}

void *
ktrace_rs_malloc(size_t size, int flags)
{
	return (malloc(size, M_KTRACE_RS, flags));
}
