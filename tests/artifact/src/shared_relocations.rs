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
        return Some(format!("relocation {} is not one of a module for arm64", name(kind)));
    }
    if relocation.addend.is_none() {
        return Some(format!("{} in an SHT_REL table: arm64 uses SHT_RELA", name(kind)));
    }
    if kind == elf::R_AARCH64_NONE {
        return None;
    }
    let address = section.address.saturating_add(relocation.offset);
    if !module.is_in_memory(address, WIDTH, elf::PF_W) {
        return Some(format!("{} of what is not in a writable segment", name(kind)));
    }
    if kind == elf::R_AARCH64_RELATIVE {
        return None;
    }
    if relocation.symbol == 0 {
        return Some(format!("{} against no symbol", name(kind)));
    }
    against(&module.dynamic_symbols, relocation, &name(kind))
}

/// Returns the name of a relocation type that a linker leaves in a shared object, or the number of
/// any other.
fn name(kind: u32) -> String {
    let name = match kind {
        elf::R_AARCH64_NONE => "NONE",
        elf::R_AARCH64_ABS64 => "ABS64",
        elf::R_AARCH64_ABS32 => "ABS32",
        elf::R_AARCH64_PREL64 => "PREL64",
        elf::R_AARCH64_PREL32 => "PREL32",
        elf::R_AARCH64_COPY => "COPY",
        elf::R_AARCH64_GLOB_DAT => "GLOB_DAT",
        elf::R_AARCH64_JUMP_SLOT => "JUMP_SLOT",
        elf::R_AARCH64_RELATIVE => "RELATIVE",
        elf::R_AARCH64_TLS_DTPMOD => "TLS_DTPMOD",
        elf::R_AARCH64_TLS_DTPREL => "TLS_DTPREL",
        elf::R_AARCH64_TLS_TPREL => "TLS_TPREL",
        elf::R_AARCH64_TLSDESC => "TLSDESC",
        elf::R_AARCH64_IRELATIVE => "IRELATIVE",
        _ => return format!("type {kind}"),
    };
    format!("R_AARCH64_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_builder::{DATA, SharedBuilder, TEXT};
    use crate::violation;

    /// Returns the messages for a module with one more relocation.
    fn messages(address: u64, kind: u32, symbol: u32) -> Vec<String> {
        let mut elf = SharedBuilder::module();
        elf.undefined("free");
        elf.relocate(address, kind, symbol);
        violation::messages(&elf.build(), check)
    }

    #[test]
    fn five_types_are_known() {
        for kind in (0..2).chain(257..315).chain(1024..1040) {
            let found = messages(DATA, kind, 1);
            let known = [0, 257, 1025, 1026, 1027].contains(&kind);
            assert_eq!(found.is_empty(), known, "{kind}: {found:?}");
        }
        assert_eq!(
            messages(DATA, elf::R_AARCH64_TLSDESC, 1),
            ["relocation R_AARCH64_TLSDESC is not one of a module for arm64"]
        );
    }

    #[test]
    fn only_what_is_writable_is_relocated() {
        let end = DATA + 0x1000;
        assert_eq!(messages(end - 8, elf::R_AARCH64_RELATIVE, 0), [""; 0]);
        for address in [0, TEXT, end - 7, end, u64::MAX] {
            assert_eq!(
                messages(address, elf::R_AARCH64_RELATIVE, 0),
                ["R_AARCH64_RELATIVE of what is not in a writable segment"],
                "{address:#x}"
            );
        }
    }

    #[test]
    fn the_symbol_is_there() {
        assert_eq!(messages(DATA, elf::R_AARCH64_ABS64, 0), ["R_AARCH64_ABS64 against no symbol"]);
        assert_eq!(
            messages(DATA, elf::R_AARCH64_JUMP_SLOT, 6),
            ["R_AARCH64_JUMP_SLOT against symbol 6, which is not there"]
        );
    }

    #[test]
    fn a_table_without_addends_is_found() {
        let mut elf = SharedBuilder::module();
        elf.rela = false;
        let file = elf.build();
        let found = check(&Module::parse(&file).unwrap());
        assert_eq!(found[0].message, "R_AARCH64_RELATIVE in an SHT_REL table: arm64 uses SHT_RELA");
    }
}
