//! The dynamic table of a shared object, as `parse_dynamic` of `sys/kern/link_elf.c` reads it.

use object::elf;

use crate::module::{Module, Section};
use crate::violation::Violation;

/// The tag of packed relative relocations, as in `sys/elf_common.h`.
const DT_RELR: u32 = 36;

/// Entries of `PT_DYNAMIC` for features that the kernel linker does not have.
const UNKNOWN: [(u32, &str); 9] = [
    (elf::DT_NEEDED, "DT_NEEDED: the metadata of a module has its dependencies"),
    (elf::DT_TEXTREL, "DT_TEXTREL: code cannot be relocated"),
    (elf::DT_REL, "DT_REL: arm64 uses DT_RELA"),
    (DT_RELR, "DT_RELR: the kernel linker knows DT_RELA only"),
    (elf::DT_INIT, "DT_INIT: the kernel does not call it"),
    (elf::DT_FINI, "DT_FINI: the kernel does not call it"),
    (elf::DT_INIT_ARRAY, "DT_INIT_ARRAY: the kernel does not call it"),
    (elf::DT_FINI_ARRAY, "DT_FINI_ARRAY: the kernel does not call it"),
    (elf::DT_PREINIT_ARRAY, "DT_PREINIT_ARRAY: the kernel does not call it"),
];

/// The tables that the kernel linker finds by `PT_DYNAMIC`, with the types of their sections.
const TABLES: [(u32, &str, u32); 3] = [
    (elf::DT_HASH, "DT_HASH", elf::SHT_HASH),
    (elf::DT_SYMTAB, "DT_SYMTAB", elf::SHT_DYNSYM),
    (elf::DT_STRTAB, "DT_STRTAB", elf::SHT_STRTAB),
];

/// Checks the entries of `PT_DYNAMIC`.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |message: String| violations.push(Violation::in_part("PT_DYNAMIC", 0, message));
    for (tag, message) in UNKNOWN {
        if value(module, tag).is_some() {
            wrong(message.to_owned());
        }
    }
    if value(module, elf::DT_FLAGS).is_some_and(|flags| flags & u64::from(elf::DF_TEXTREL) != 0) {
        wrong("DF_TEXTREL in DT_FLAGS: code cannot be relocated".to_owned());
    }
    for (tag, name, kind) in TABLES {
        let Some(address) = value(module, tag) else {
            wrong(format!("no {name}: the kernel linker could look nothing up"));
            continue;
        };
        let table = module.loaded().find(|(_, table)| table.kind == kind && table.address == address);
        let Some((_, table)) = table else {
            wrong(format!("{name} is {address:#x}, where no such section is"));
            continue;
        };
        let symbols = module.dynamic_symbols.len();
        if kind == elf::SHT_HASH && chains(table) != Some(symbols as u64) {
            wrong(format!("the hash table is not one of the {symbols} symbols of .dynsym"));
        }
    }
    if value(module, elf::DT_JMPREL).is_some() && value(module, elf::DT_PLTREL) != Some(elf::DT_RELA.into()) {
        wrong("DT_PLTREL is not DT_RELA".to_owned());
    }
    if relocated(module) != relocations(module) {
        wrong("DT_RELA and DT_JMPREL are not the relocation sections of the file".to_owned());
    }
    violations
}

/// Returns the value of a dynamic entry.
fn value(module: &Module<'_>, tag: u32) -> Option<u64> {
    module.dynamic.iter().find(|entry| entry.tag == u64::from(tag)).map(|entry| entry.value)
}

/// Returns the number of symbols in a hash table: its second word.
fn chains(section: &Section<'_>) -> Option<u64> {
    let word = section.data.get(4..8)?;
    Some(u32::from_le_bytes(word.try_into().ok()?).into())
}

/// Returns the address and size of each relocation table that the kernel linker applies.
fn relocated(module: &Module<'_>) -> Vec<(u64, u64)> {
    let tables = [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)];
    let mut tables: Vec<_> = tables
        .into_iter()
        .filter_map(|(address, size)| Some((value(module, address)?, value(module, size)?)))
        .filter(|(_, size)| *size != 0)
        .collect();
    tables.sort_unstable();
    tables
}

/// Returns the address and size of each relocation table that the other checks know.
fn relocations(module: &Module<'_>) -> Vec<(u64, u64)> {
    let mut tables: Vec<_> = module
        .loaded()
        .filter(|(_, section)| matches!(section.kind, elf::SHT_REL | elf::SHT_RELA) && section.size != 0)
        .map(|(_, section)| (section.address, section.size))
        .collect();
    tables.sort_unstable();
    tables
}
