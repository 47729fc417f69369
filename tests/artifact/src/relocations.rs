//! Relocations, as `elf_reloc_internal` of `sys/amd64/amd64/elf_machdep.c` and `elf_obj_lookup` of
//! `sys/kern/link_elf_obj.c` process them.

use object::elf;

use crate::module::{Module, Relocation, Section, Symbol};
use crate::violation::Violation;

/// The types that the kernel linker applies to a relocatable module.
const KNOWN: [u32; 5] =
    [elf::R_X86_64_NONE, elf::R_X86_64_64, elf::R_X86_64_PC32, elf::R_X86_64_PLT32, elf::R_X86_64_32S];

/// The section types that the kernel linker gives memory to. A relocation in a section of another
/// type ends the load with "lost base".
const LOADED: [u32; 5] =
    [elf::SHT_PROGBITS, elf::SHT_NOBITS, elf::SHT_X86_64_UNWIND, elf::SHT_INIT_ARRAY, elf::SHT_FINI_ARRAY];

/// Checks the relocations of the loaded sections. Those of debug information and the like are never
/// applied.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    check_each(module, module.loaded(), wrong)
}

/// Applies `wrong` to each relocation of some sections, which come with their index.
pub(crate) fn check_each<'m>(
    module: &'m Module<'m>,
    sections: impl Iterator<Item = (usize, &'m Section<'m>)>,
    wrong: impl Fn(&Module<'_>, &Section<'_>, &Relocation) -> Option<String>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, section) in sections {
        for relocation in &section.relocations {
            if let Some(message) = wrong(module, section, relocation) {
                violations.push(Violation::at(module, index, relocation.offset, message));
            }
        }
    }
    violations
}

/// Returns the fault of a relocation, if it has one.
fn wrong(module: &Module<'_>, section: &Section<'_>, relocation: &Relocation) -> Option<String> {
    let kind = relocation.kind;
    if !KNOWN.contains(&kind) {
        return Some(format!("relocation type {kind} is not known to the amd64 kernel linker"));
    }
    if !LOADED.contains(&section.kind) {
        return Some(format!("relocation in a section of type {:#x}, which is not loaded", section.kind));
    }
    if relocation.addend.is_none() {
        return Some("relocation in an SHT_REL table: amd64 uses SHT_RELA".to_owned());
    }
    if kind == elf::R_X86_64_NONE {
        return None;
    }
    let width = if kind == elf::R_X86_64_64 { 8 } else { 4 };
    if relocation.offset.checked_add(width).is_none_or(|end| end > section.size) {
        return Some("relocation that reaches over the end of the section".to_owned());
    }
    against(&module.symbols, relocation)
}

/// Returns the fault of a relocation's symbol, which is one of `symbols`, if it has one.
pub(crate) fn against(symbols: &[Symbol<'_>], relocation: &Relocation) -> Option<String> {
    let missing = relocation.symbol >= symbols.len();
    missing.then(|| format!("relocation against symbol {}, which is not there", relocation.symbol))
}
