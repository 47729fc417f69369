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
