//! The form of a shared object, as `link_elf_load_file`, `preload_protect`, `parse_dynamic` and
//! `link_elf_lookup_set` of `sys/kern/link_elf.c` require it.

use object::elf;

use super::{dynamic, relocations, segments};
use crate::layout;
use crate::module::{Module, SymbolPlace};
use crate::symbols::entry;
use crate::violation::Violation;

/// Checks the headers, the dynamic table, the section table, the exported names and the relocations
/// of a shared object.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    if module.kind != elf::ET_DYN {
        let message = format!("e_type is {}, not ET_DYN: link with -shared", module.kind);
        violations.push(Violation::in_part("ELF header", 16, message));
    }
    violations.extend(segments::check(module));
    violations.extend(dynamic::check(module));
    violations.extend(layout::contents(module, &[]));
    violations.extend(sets(module));
    violations.extend(names(module));
    violations.extend(relocations::check(module));
    violations
}

/// Returns whether a name is one that a linker gives to a bound of a linker set.
fn is_bound(name: &str) -> bool {
    name.starts_with("__start_set_") || name.starts_with("__stop_set_")
}

/// Checks that the kernel can find the linker sets, by the names of their bounds.
fn sets(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, section) in module.loaded().filter(|(_, section)| section.name.starts_with("set_")) {
        for (prefix, offset) in [("__start_", 0), ("__stop_", section.size)] {
            let name = format!("{prefix}{}", section.name);
            let found = module.dynamic_symbols.iter().any(|symbol| {
                symbol.name == name
                    && symbol.bind != elf::STB_LOCAL
                    && (symbol.place, symbol.value) == (SymbolPlace::Section(index), offset)
            });
            if !found {
                let message = "bound of a linker set that .dynsym does not export: the set is not found";
                violations.push(Violation::at(module, index, offset, message).about(&name));
            }
        }
    }
    violations
}

/// Checks that no other name is exported, so that no other module links against it. Also checks
/// that `.dynsym` has all undefined symbols, so that the kernel looks them up.
fn names(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, symbol) in module.dynamic_symbols.iter().enumerate().skip(1) {
        let defined = symbol.place != SymbolPlace::Undefined && symbol.bind != elf::STB_LOCAL;
        if defined && !is_bound(symbol.name) {
            violations.push(entry(".dynsym", index, symbol.name, "exported: only linker sets are to be"));
        }
    }
    for (index, symbol) in module.symbols.iter().enumerate().skip(1) {
        let looked_up = || module.dynamic_symbols.iter().any(|dynamic| dynamic.name == symbol.name);
        if symbol.place == SymbolPlace::Undefined && !looked_up() {
            violations.push(entry(".symtab", index, symbol.name, "undefined symbol that .dynsym lacks"));
        }
    }
    violations
}
