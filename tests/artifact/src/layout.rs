//! The form of the file: its header, the sections that a module must have, and those that it must
//! not have.

use object::elf;

use crate::module::{Module, Section};
use crate::violation::Violation;

/// The linker sets by which the kernel finds the contents of a module. Without `sysinit_set` no
/// code of it ever runs. Without `modmetadata_set` it has no name, no version and no dependency on
/// a kernel.
const REQUIRED: [&str; 2] = ["set_modmetadata_set", "set_sysinit_set"];

/// Sections that only another loader uses. Names with a dot and a suffix are included.
const FORBIDDEN: [&str; 6] =
    [".ctors", ".dtors", ".eh_frame_hdr", ".fini_array", ".init_array", ".preinit_array"];

/// Sections that are allowed only in a shared object, where the kernel linker fills them.
const SHARED_ONLY: [&str; 2] = [".got", ".plt"];

/// The size of an entry of a linker set: a pointer.
const POINTER: u64 = 8;

/// Checks the header and the section table of a relocatable `module`.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = header(module);
    violations.extend(contents(module, &SHARED_ONLY));
    violations
}

/// Checks the contents of a module. It must have the linker sets and one symbol table. It must not
/// have sections of other loaders, sections named in `no_place`, or thread-local storage.
pub(crate) fn contents(module: &Module<'_>, no_place: &[&str]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for required in REQUIRED {
        violations.extend(linker_set(module, required));
    }
    for (index, section) in module.sections.iter().enumerate() {
        if let Some(message) = forbidden(section, no_place) {
            violations.push(Violation::at(module, index, 0, message));
        }
    }
    let tables = module.sections.iter().filter(|section| section.kind == elf::SHT_SYMTAB).count();
    if tables != 1 {
        let message = format!("{tables} symbol tables: the kernel linker wants one");
        violations.push(Violation::in_part("section headers", 0, message));
    }
    for symbol in module.symbols.iter().filter(|symbol| symbol.kind == elf::STT_TLS) {
        let message = "thread-local symbol: a kernel has no thread-local storage";
        violations.push(Violation::in_part(".symtab", 0, message).about(symbol.name));
    }
    violations
}

/// Checks the ELF header; the offsets are those of `Elf64_Ehdr`.
fn header(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |offset, message| violations.push(Violation::in_part("ELF header", offset, message));
    if module.os_abi != elf::ELFOSABI_FREEBSD {
        wrong(7, format!("EI_OSABI is {}, not that of FreeBSD: link with -m elf_x86_64_fbsd", module.os_abi));
    }
    if module.kind != elf::ET_REL {
        wrong(16, format!("e_type is {}, not ET_REL: link with -r", module.kind));
    }
    violations
}

/// Checks that the linker set `name` exists and has entries.
fn linker_set(module: &Module<'_>, name: &str) -> Option<Violation> {
    let Some((index, section)) = module.loaded().find(|(_, section)| section.name == name) else {
        let message = format!("no section {name}: the kernel would find nothing in the module");
        return Some(Violation::in_part("section headers", 0, message));
    };
    let whole = section.size != 0 && section.size.is_multiple_of(POINTER);
    (!whole).then(|| {
        let message = format!("a linker set of {} bytes is not a list of pointers", section.size);
        Violation::at(module, index, 0, message)
    })
}

/// Returns the reason why a section must not be in a module, if there is one.
fn forbidden(section: &Section<'_>, no_place: &[&str]) -> Option<String> {
    let name = section.name;
    let listed = FORBIDDEN.iter().chain(no_place).any(|forbidden| {
        name.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let array = [elf::SHT_INIT_ARRAY, elf::SHT_FINI_ARRAY, elf::SHT_PREINIT_ARRAY].contains(&section.kind);
    if listed || array {
        return Some(format!("section {name} has no place in a kernel module"));
    }
    if section.has(elf::SHF_TLS) {
        return Some("thread-local section: a kernel has no thread-local storage".to_owned());
    }
    section
        .has(elf::SHF_WRITE | elf::SHF_EXECINSTR)
        .then(|| "section both writable and executable".to_owned())
}
