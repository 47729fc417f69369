//! The undefined symbols, compared with the allow-list both ways.

use object::elf;

use crate::allow_list::AllowList;
use crate::module::{Module, SymbolPlace};
use crate::violation::{Place, Violation};

/// The size of a symbol table entry, `sizeof(Elf64_Sym)`.
const ENTRY: u64 = 24;

/// Checks that the undefined symbols of `module` are exactly those of `allow`, and that none
/// belongs to the Rust runtime.
pub(crate) fn check(module: &Module<'_>, allow: &AllowList<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut undefined = Vec::new();
    let (table, symbols) = module.linked_symbols();
    for (index, symbol) in symbols.iter().enumerate().skip(1) {
        match symbol.place {
            SymbolPlace::Undefined => {}
            SymbolPlace::Common => {
                let message = format!("common symbol of {} bytes: no place was given to it", symbol.size);
                violations.push(entry(table, index, symbol.name, message));
                continue;
            }
            _ => continue,
        }
        undefined.push(symbol.name);
        let message = if symbol.name.contains("__rust_") {
            "undefined symbol of the Rust runtime: no kernel has it"
        } else if symbol.bind == elf::STB_LOCAL {
            "undefined local symbol"
        } else if allow.contains(symbol.name) {
            continue;
        } else {
            "undefined symbol that the allow-list does not name"
        };
        violations.push(match first_use(module, index) {
            Some((section, offset)) => {
                let message = format!("{message}: {}", symbol.name);
                Violation::at(module, section, offset, message)
            }
            None => entry(table, index, symbol.name, message),
        });
    }
    violations.extend(list(allow, &undefined));
    violations
}

/// Checks the list itself: single words, in order, all of them used.
fn list(allow: &AllowList<'_>, undefined: &[&str]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last = "";
    for allowed in &allow.names {
        let mut wrong = |message: &str| {
            violations.push(Violation {
                place: Place::AllowList { line: allowed.line },
                symbol: Some(allowed.name.to_owned()),
                message: message.to_owned(),
            });
        };
        if allowed.name.contains(char::is_whitespace) {
            wrong("more than one name on a line");
        } else if !undefined.contains(&allowed.name) {
            wrong("allowed, but the module does not use it");
        }
        if allowed.name == last {
            wrong("the name is there twice");
        } else if allowed.name < last {
            wrong("not in order");
        }
        last = allowed.name;
    }
    violations
}

/// Creates a violation at a symbol's own entry of a symbol table.
pub(crate) fn entry(table: &str, index: usize, name: &str, message: impl Into<String>) -> Violation {
    Violation::in_part(table, index as u64 * ENTRY, message).about(name)
}

/// Returns the first place that is relocated against a symbol, in a loaded section.
fn first_use(module: &Module<'_>, symbol: usize) -> Option<(usize, u64)> {
    module.loaded().find_map(|(index, section)| {
        let mut relocations = section.relocations.iter();
        relocations
            .find(|relocation| relocation.symbol == symbol)
            .map(|relocation| (index, relocation.offset))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::elf_builder::ElfBuilder;

    /// Returns the lines for a module whose only function calls each of `called`.
    fn lines(called: &[&str], allow: &str) -> Vec<String> {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0xe8, 0, 0, 0, 0].repeat(called.len()));
        for (name, offset) in called.iter().zip((1..).step_by(5)) {
            elf.relocate(".text", offset, elf::R_X86_64_PLT32, name, -4);
        }
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        check(&module, &AllowList::parse(allow))
            .iter()
            .map(|violation| violation.line(Path::new("ko"), Path::new("list")))
            .collect()
    }

    #[test]
    fn an_exact_list_passes() {
        assert!(lines(&["malloc", "free"], "# both\nfree\nmalloc # and this\n").is_empty());
    }

    #[test]
    fn an_undefined_symbol_that_is_not_allowed_is_found_where_it_is_used() {
        let expected = "ko: .text+0x6 (f): undefined symbol that the allow-list does not name: free";
        assert_eq!(lines(&["malloc", "free"], "malloc\n"), [expected]);
    }

    #[test]
    fn an_undefined_symbol_without_a_use_is_found_too() {
        let mut elf = ElfBuilder::module();
        elf.undefined("printf");
        let file = elf.build();
        let found = check(&Module::parse(&file).unwrap(), &AllowList::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].symbol.as_deref(), Some("printf"));
        assert!(matches!(&found[0].place, Place::Offset { section, .. } if section == ".symtab"));
    }

    #[test]
    fn an_allowed_name_that_is_not_used_is_found() {
        let expected = "list: line 2 (panic): allowed, but the module does not use it";
        assert_eq!(lines(&["free"], "free\npanic\n"), [expected]);
    }

    #[test]
    fn a_defined_name_is_not_a_use() {
        assert_eq!(lines(&[], "f\n"), ["list: line 1 (f): allowed, but the module does not use it"]);
    }

    #[test]
    fn the_list_is_in_order_and_without_doubles() {
        let both = ["malloc", "free"];
        assert_eq!(lines(&both, "malloc\nfree\n"), ["list: line 2 (free): not in order"]);
        assert_eq!(lines(&both, "free\nfree\nmalloc\n"), ["list: line 2 (free): the name is there twice"]);
        assert!(lines(&both, "free malloc\n")[2].contains("more than one name on a line"));
    }

    #[test]
    fn the_rust_runtime_cannot_be_allowed() {
        for name in ["__rust_alloc", "_RNvCsabc_7___rustc12___rust_alloc"] {
            let found = lines(&[name], &format!("{name}\n"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("Rust runtime"), "{found:?}");
        }
    }

    #[test]
    fn common_symbols_are_found() {
        let mut elf = ElfBuilder::module();
        elf.common("buffer", 64);
        let file = elf.build();
        let found = check(&Module::parse(&file).unwrap(), &AllowList::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].symbol.as_deref(), Some("buffer"));
        assert!(found[0].message.starts_with("common symbol of 64 bytes"));
    }
}
