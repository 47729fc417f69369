//! Relocations of a shared object, as `elf_reloc_internal` of `sys/arm64/arm64/elf_machdep.c` and
//! `elf_lookup` of `sys/kern/link_elf.c` process them.

use object::elf;

use crate::module::{Module, Relocation, Section};
use crate::relocations::{against, check_each};
use crate::violation::Violation;

/// The types that a module may have. The kernel linker also knows `R_AARCH64_IRELATIVE`, which
/// calls into a module before it is linked.
const KNOWN: [u32; 5] = [
    elf::R_AARCH64_NONE,
    elf::R_AARCH64_ABS64,
    elf::R_AARCH64_GLOB_DAT,
    elf::R_AARCH64_JUMP_SLOT,
    elf::R_AARCH64_RELATIVE,
];

/// The number of bytes that each of them writes: a pointer.
const WIDTH: u64 = 8;

/// Checks all relocations.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    check_each(module, module.sections.iter().enumerate(), wrong)
}

/// Returns the fault of a relocation, if it has one.
fn wrong(module: &Module<'_>, section: &Section<'_>, relocation: &Relocation) -> Option<String> {
    let kind = relocation.kind;
    if !KNOWN.contains(&kind) {
        return Some(format!("relocation type {kind} is not one of a module for arm64"));
    }
    if relocation.addend.is_none() {
        return Some("relocation in an SHT_REL table: arm64 uses SHT_RELA".to_owned());
    }
    if kind == elf::R_AARCH64_NONE {
        return None;
    }
    let address = section.address.saturating_add(relocation.offset);
    if !module.is_in_memory(address, WIDTH, elf::PF_W) {
        return Some("relocation of a place that is not in a writable segment".to_owned());
    }
    if kind == elf::R_AARCH64_RELATIVE {
        return None;
    }
    if relocation.symbol == 0 {
        return Some("relocation against no symbol".to_owned());
    }
    against(&module.dynamic_symbols, relocation)
}
