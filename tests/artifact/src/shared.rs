//! The form of a shared object, as `link_elf_load_file`, `preload_protect`, `parse_dynamic` and
//! `link_elf_lookup_set` of `sys/kern/link_elf.c` require it.

use object::elf;

use crate::module::{Module, SymbolPlace};
use crate::symbols::entry;
use crate::violation::Violation;
use crate::{layout, shared_dynamic, shared_segments};

/// Checks the headers, the dynamic table, the section table and the exported names of a shared
/// object.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    if module.kind != elf::ET_DYN {
        let message = format!("e_type is {}, not ET_DYN: link with -shared", module.kind);
        violations.push(Violation::in_part("ELF header", 16, message));
    }
    violations.extend(shared_segments::check(module));
    violations.extend(shared_dynamic::check(module));
    violations.extend(layout::contents(module, &[]));
    violations.extend(sets(module));
    violations.extend(names(module));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::shared_builder::SharedBuilder;
    use crate::violation;

    fn messages(elf: &SharedBuilder) -> Vec<String> {
        violation::messages(&elf.build(), check)
    }

    #[test]
    fn a_module_passes() {
        let mut elf = SharedBuilder::module();
        elf.function("f", &[0xd65f_03c0]);
        elf.undefined("free");
        assert_eq!(messages(&elf), [""; 0]);
    }

    #[test]
    fn a_relocatable_file_is_found() {
        let file = ElfBuilder::module().build();
        let found = check(&Module::parse(&file).unwrap());
        assert_eq!(found[0].message, "e_type is 1, not ET_DYN: link with -shared");
    }

    #[test]
    fn the_sections_are_those_of_a_module() {
        let mut elf = SharedBuilder::module();
        elf.section(".init_array", elf::SHT_INIT_ARRAY, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 8]);
        elf.section(".tdata", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_TLS, &[0; 8]);
        elf.section(".got", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 8]);
        let found = messages(&elf);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "section .init_array has no place in a kernel module");
        assert!(found[1].starts_with("thread-local section"), "{found:?}");
    }

    #[test]
    fn the_linker_sets_are_there() {
        let found = messages(&SharedBuilder::empty());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("no section set_modmetadata_set"), "{found:?}");
        let mut elf = SharedBuilder::empty();
        for (set, size) in [("set_modmetadata_set", 12), ("set_sysinit_set", 8)] {
            elf.section(set, elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &vec![0; size]);
            elf.export(&format!("__start_{set}"), set, 0);
            elf.export(&format!("__stop_{set}"), set, size as u64);
        }
        assert_eq!(messages(&elf), ["a linker set of 12 bytes is not a list of pointers"]);
    }

    #[test]
    fn the_linker_sets_have_exported_bounds() {
        let mut elf = SharedBuilder::module();
        elf.section("set_sysuninit_set", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 8]);
        let expected = "bound of a linker set that .dynsym does not export: the set is not found";
        assert_eq!(messages(&elf), [expected, expected]);
        elf.export("__start_set_sysuninit_set", "set_sysuninit_set", 0);
        elf.export("__stop_set_sysuninit_set", "set_sysuninit_set", 0);
        assert_eq!(messages(&elf), [expected]);
    }

    #[test]
    fn nothing_else_is_exported() {
        let mut elf = SharedBuilder::module();
        elf.function("f", &[0xd65f_03c0]);
        elf.export("f", ".text", 0);
        assert_eq!(messages(&elf), ["exported: only linker sets are to be"]);
    }

    #[test]
    fn an_undefined_symbol_is_looked_up() {
        let mut elf = SharedBuilder::module();
        elf.lost("free");
        assert_eq!(messages(&elf), ["undefined symbol that .dynsym lacks"]);
    }
}
