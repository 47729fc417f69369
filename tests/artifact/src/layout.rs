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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::violation;

    fn messages(elf: &ElfBuilder) -> Vec<String> {
        violation::messages(&elf.build(), check)
    }

    #[test]
    fn a_module_passes() {
        let mut elf = ElfBuilder::module();
        elf.section(".eh_frame", elf::SHT_X86_64_UNWIND, elf::SHF_ALLOC, &[0; 4]);
        elf.section(".gotcha", elf::SHT_PROGBITS, elf::SHF_ALLOC, &[0; 4]);
        assert!(messages(&elf).is_empty());
    }

    #[test]
    fn an_empty_object_lacks_the_metadata() {
        let found = messages(&ElfBuilder::empty());
        assert!(found[0].starts_with("no section set_modmetadata_set"), "{found:?}");
        assert!(found[1].starts_with("no section set_sysinit_set"), "{found:?}");
    }

    #[test]
    fn a_linker_set_holds_pointers() {
        for size in [0, 7] {
            let mut elf = ElfBuilder::empty();
            elf.section("set_modmetadata_set", elf::SHT_PROGBITS, elf::SHF_ALLOC, &vec![0; size]);
            elf.section("set_sysinit_set", elf::SHT_PROGBITS, elf::SHF_ALLOC, &[0; 8]);
            let expected = format!("a linker set of {size} bytes is not a list of pointers");
            assert_eq!(messages(&elf), [expected]);
        }
    }

    #[test]
    fn other_loaders_sections_are_found() {
        for name in [".init_array", ".init_array.5", ".eh_frame_hdr", ".got", ".got.plt", ".plt", ".ctors"] {
            let mut elf = ElfBuilder::module();
            elf.section(name, elf::SHT_PROGBITS, elf::SHF_ALLOC, &[0; 8]);
            assert_eq!(messages(&elf), [format!("section {name} has no place in a kernel module")]);
        }
        let mut elf = ElfBuilder::module();
        elf.section("start", elf::SHT_INIT_ARRAY, elf::SHF_ALLOC, &[0; 8]);
        assert_eq!(messages(&elf), ["section start has no place in a kernel module"]);
    }

    #[test]
    fn writable_code_is_found() {
        let mut elf = ElfBuilder::module();
        let flags = elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_EXECINSTR;
        elf.section(".patch", elf::SHT_PROGBITS, flags, &[0xc3]);
        assert_eq!(messages(&elf), ["section both writable and executable"]);
    }

    #[test]
    fn thread_local_storage_is_found() {
        let mut elf = ElfBuilder::module();
        let flags = elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_TLS;
        elf.section(".tdata", elf::SHT_PROGBITS, flags, &[0; 8]);
        elf.thread_local(".tdata", "per_thread");
        let found = messages(&elf);
        assert!(found[0].starts_with("thread-local section"), "{found:?}");
        assert!(found[1].starts_with("thread-local symbol"), "{found:?}");
    }

    #[test]
    fn another_system_s_file_is_found() {
        let mut elf = ElfBuilder::module();
        elf.os_abi(elf::ELFOSABI_NONE);
        assert!(messages(&elf)[0].starts_with("EI_OSABI is 0"));
    }

    #[test]
    fn a_shared_object_is_found() {
        let mut file = ElfBuilder::module().build();
        file[16] = 3;
        let found = check(&Module::parse(&file).unwrap());
        assert_eq!(found[0].message, "e_type is 3, not ET_REL: link with -r");
    }

    #[test]
    fn a_stripped_module_is_found() {
        let mut elf = ElfBuilder::module();
        elf.undefined("free");
        let mut file = elf.build();
        let headers = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
        let table =
            (headers..file.len()).step_by(64).find(|at| file[at + 4] == elf::SHT_SYMTAB as u8).unwrap();
        file[table + 4] = elf::SHT_PROGBITS as u8;
        let found = check(&Module::parse(&file).unwrap());
        assert_eq!(found[0].message, "0 symbol tables: the kernel linker wants one");
    }
}
