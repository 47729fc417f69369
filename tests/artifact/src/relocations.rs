//! Relocations, as `elf_reloc_internal` of `sys/amd64/amd64/elf_machdep.c` and `elf_obj_lookup` of
//! `sys/kern/link_elf_obj.c` process them.

use object::elf;

use crate::module::{Module, Relocation, Section, Symbol, SymbolPlace};
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
        return Some(format!("relocation {} is not known to the amd64 kernel linker", name(kind)));
    }
    if !LOADED.contains(&section.kind) {
        return Some(format!("{} in a section of type {:#x}, which is not loaded", name(kind), section.kind));
    }
    if relocation.addend.is_none() {
        return Some(format!("{} in an SHT_REL table: amd64 uses SHT_RELA", name(kind)));
    }
    if kind == elf::R_X86_64_NONE {
        return None;
    }
    let width = if kind == elf::R_X86_64_64 { 8 } else { 4 };
    if relocation.offset.checked_add(width).is_none_or(|end| end > section.size) {
        return Some(format!("{} reaches over the end of the section", name(kind)));
    }
    against(&module.symbols, relocation, &name(kind))
}

/// Returns the fault of a relocation's symbol, which is one of `symbols`, if it has one.
pub(crate) fn against(symbols: &[Symbol<'_>], relocation: &Relocation, name: &str) -> Option<String> {
    match symbols.get(relocation.symbol) {
        None => Some(format!("{name} against symbol {}, which is not there", relocation.symbol)),
        Some(symbol) if symbol.place == SymbolPlace::Undefined && symbol.bind == elf::STB_LOCAL => {
            Some(format!("{name} against an undefined local symbol"))
        }
        Some(_) => None,
    }
}

/// Returns the name of a relocation type that a compiler writes, or the number of any other.
fn name(kind: u32) -> String {
    let name = match kind {
        elf::R_X86_64_NONE => "NONE",
        elf::R_X86_64_64 => "64",
        elf::R_X86_64_PC32 => "PC32",
        elf::R_X86_64_GOT32 => "GOT32",
        elf::R_X86_64_PLT32 => "PLT32",
        elf::R_X86_64_GOTPCREL => "GOTPCREL",
        elf::R_X86_64_32 => "32",
        elf::R_X86_64_32S => "32S",
        elf::R_X86_64_16 => "16",
        elf::R_X86_64_8 => "8",
        elf::R_X86_64_DTPOFF32 => "DTPOFF32",
        elf::R_X86_64_TLSGD => "TLSGD",
        elf::R_X86_64_TLSLD => "TLSLD",
        elf::R_X86_64_GOTTPOFF => "GOTTPOFF",
        elf::R_X86_64_TPOFF32 => "TPOFF32",
        elf::R_X86_64_PC64 => "PC64",
        elf::R_X86_64_GOTPC32 => "GOTPC32",
        elf::R_X86_64_GOTPCRELX => "GOTPCRELX",
        elf::R_X86_64_REX_GOTPCRELX => "REX_GOTPCRELX",
        _ => return format!("type {kind}"),
    };
    format!("R_X86_64_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::violation;

    /// Returns the messages for a module with one relocation in `section`.
    fn messages(section: &str, offset: u64, kind: u32, symbol: &str) -> Vec<String> {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0x90; 16]);
        elf.section(".debug_info", elf::SHT_PROGBITS, 0, &[0; 16]);
        elf.section(".note.x", elf::SHT_NOTE, elf::SHF_ALLOC, &[0; 16]);
        elf.local("local");
        elf.relocate(section, offset, kind, symbol, -4);
        violation::messages(&elf.build(), check)
    }

    #[test]
    fn five_types_are_known() {
        for kind in 0..48 {
            let found = messages(".text", 1, kind, "g");
            let known = [0, 1, 2, 4, 11].contains(&kind);
            assert_eq!(found.is_empty(), known, "{kind}: {found:?}");
        }
    }

    #[test]
    fn a_call_through_the_got_is_named() {
        let found = messages(".text", 1, elf::R_X86_64_GOTPCREL, "g");
        assert_eq!(found, ["relocation R_X86_64_GOTPCREL is not known to the amd64 kernel linker"]);
    }

    #[test]
    fn debug_sections_are_exempt() {
        assert!(messages(".debug_info", 0, elf::R_X86_64_32, "f").is_empty());
    }

    #[test]
    fn sections_the_linker_does_not_load_cannot_be_relocated() {
        let found = messages(".note.x", 0, elf::R_X86_64_64, "f");
        assert!(found[0].contains("which is not loaded"), "{found:?}");
    }

    #[test]
    fn a_relocation_lies_within_its_section() {
        assert!(messages(".text", 12, elf::R_X86_64_PC32, "g").is_empty());
        let found = messages(".text", 13, elf::R_X86_64_PC32, "g");
        assert_eq!(found, ["R_X86_64_PC32 reaches over the end of the section"]);
        assert!(!messages(".text", 9, elf::R_X86_64_64, "g").is_empty());
    }

    #[test]
    fn an_undefined_local_symbol_cannot_be_looked_up() {
        let found = messages(".text", 0, elf::R_X86_64_64, "local");
        assert_eq!(found, ["R_X86_64_64 against an undefined local symbol"]);
    }
}
