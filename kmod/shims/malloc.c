/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/malloc.h
 */

#include <sys/param.h>
#include <sys/malloc.h>

#include "shims.h"

/*
 * MALLOC_DEFINE() would call malloc_init() before the module can check that it
 * is for this release.  On another release, the version of a type differs, and
 * the kernel panics.
 */
static struct malloc_type M_KTRACE_RS[1] = {{
    .ks_version = M_VERSION,
    .ks_shortdesc = "ktrace_rs",
}};

void
ktrace_rs_free(void *memory)
{
	free(memory, M_KTRACE_RS);
}

/*
 * Frees the copy of a uio that a trace point gives away (sys/uio.h:
 * cloneuio()).
 */
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

void
ktrace_rs_malloc_init(void)
{
	malloc_init(M_KTRACE_RS);
}

void
ktrace_rs_malloc_uninit(void)
{
	malloc_uninit(M_KTRACE_RS);
}
