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
 * A c_linker_sym_t is an Elf_Sym, since link_elf.c has no other symbols.  A
 * symbol whose size differs from the linker's is not considered static.
 */
bool
ktrace_rs_is_static(c_linker_sym_t symbol, const linker_symval_t *values)
{
	const Elf_Sym *elf = (const Elf_Sym *)symbol;

	if (elf->st_size != values->size)
		return (false);
	return (ELF_ST_BIND(elf->st_info) == STB_LOCAL);
}
