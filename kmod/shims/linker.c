/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/linker.h, sys/elf.h
 */

#include <sys/param.h>
#include <sys/queue.h>
#include <sys/elf.h>
#include <sys/linker.h>

#include "shims.h"

/*
 * What the linker gives away as a c_linker_sym_t is an Elf_Sym: link_elf.c has
 * no other symbols.  Where the size is another one, nobody can tell.
 */
bool
ktrace_rs_is_static(c_linker_sym_t symbol, const linker_symval_t *values)
{
	const Elf_Sym *elf = (const Elf_Sym *)symbol;

	return (ELF_ST_BIND(elf->st_info) == STB_LOCAL &&
	    elf->st_size == values->size);
}
