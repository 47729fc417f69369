/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/linker.h
 */

#include <sys/param.h>
#include <sys/errno.h>
#include <sys/queue.h>
#include <sys/linker.h>

#include "shims.h"

/* Kernels without options DDB have no such function. */
#pragma weak linker_ddb_lookup

int
ktrace_rs_find_static(const char *name, struct linker_symval *values)
{
	c_linker_sym_t symbol;

	if (linker_ddb_lookup == NULL || linker_ddb_lookup(name, &symbol) != 0)
		return (ENOENT);
	return (linker_ddb_symbol_values(symbol, values));
}
