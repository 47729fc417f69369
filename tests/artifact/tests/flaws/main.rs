//! Each check finds the fault that is put in for it, in a file that is otherwise a clean module.

mod code;
mod layout;
mod shared;
#[path = "../toolchain/mod.rs"]
mod toolchain;

use std::path::Path;

use ktrace_artifact::{AllowList, Module, Violation, check};
use object::{Object, ObjectSection, ObjectSymbol};

/// Returns the violations in a module.
fn violations(file: &[u8], allow: &str) -> Vec<Violation> {
    check(&Module::parse(file).expect("ELF"), &AllowList::parse(allow), 1024).violations
}

/// Returns the messages for a module that may leave `free` undefined.
fn messages(file: &[u8]) -> Vec<String> {
    let violations = violations(file, "free\n").into_iter().map(|violation| violation.message);
    violations.filter(|message| message != "allowed, but the module does not use it").collect()
}

/// Checks that a module has one kind of violation.
#[track_caller]
fn finds(file: &[u8], expected: &str) {
    let found = messages(file);
    assert!(!found.is_empty() && found.iter().all(|message| message == expected), "{expected}: {found:#?}");
}

/// Checks that a module has a violation, beside others that follow from the same fault.
#[track_caller]
fn finds_among(file: &[u8], expected: &str) {
    let found = messages(file);
    assert!(found.iter().any(|message| message == expected), "{expected}: {found:#?}");
}

/// Returns the violations as lines of the report.
fn lines(file: &[u8], allow: &str) -> Vec<String> {
    let line = |violation: &Violation| violation.line(Path::new("ko"), Path::new("list"));
    violations(file, allow).iter().map(line).collect()
}

/// Returns a file with some bytes overwritten.
fn patched(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// Returns the offset of a section in the file.
fn section(file: &[u8], name: &str) -> usize {
    let parsed = object::File::parse(file).expect("ELF");
    let section = parsed.section_by_name(name).expect(name);
    section.file_range().expect("bytes").0 as usize
}

/// Returns the offset of a section's header in the file.
fn section_header(file: &[u8], name: &str) -> usize {
    let parsed = object::File::parse(file).expect("ELF");
    let index = parsed.section_by_name(name).expect(name).index().0;
    u64::from_le_bytes(file[40..48].try_into().expect("e_shoff")) as usize + 64 * index
}

/// Returns the offset of a symbol in the file.
fn symbol(file: &[u8], name: &str) -> usize {
    let parsed = object::File::parse(file).expect("ELF");
    let found = parsed.symbols().find(|symbol| symbol.name() == Ok(name)).expect("symbol").index();
    section(file, ".symtab") + 24 * found.0
}
