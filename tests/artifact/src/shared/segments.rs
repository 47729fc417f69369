//! The segments of a shared object, as `link_elf_load_file` and `preload_protect` of
//! `sys/kern/link_elf.c` load and protect them.

use object::elf;

use crate::module::Module;
use crate::violation::Violation;

/// The number of segments that the kernel linker loads.
const MAXSEGS: usize = 4;

/// The size of a page. The kernel linker reads one page of the file at first, and protects memory
/// by pages.
const PAGE: u64 = 4096;

/// The size of a program header, `sizeof(Elf64_Phdr)`.
const PROGRAM_HEADER: u64 = 56;

/// Checks the program headers, and that they load every section.
pub(crate) fn check(module: &Module<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |index: usize, message: String| {
        violations.push(Violation::in_part("program headers", index as u64 * PROGRAM_HEADER, message));
    };
    if module.segments_end > PAGE {
        wrong(0, format!("they end at {:#x}: the kernel linker reads one page", module.segments_end));
    }
    let has = |kind| module.segments.iter().any(|segment| segment.kind == kind);
    if !has(elf::PT_DYNAMIC) {
        wrong(0, "no PT_DYNAMIC segment: the kernel would not know what to link".to_owned());
    }
    if !has(elf::PT_LOAD) {
        wrong(0, "no PT_LOAD segment: there is nothing to load".to_owned());
    }
    let mut end_of_last = None;
    let mut count = 0;
    for (index, segment) in module.segments.iter().enumerate() {
        let loaded = module.is_in_memory(segment.address, segment.memory_size, 0);
        match segment.kind {
            elf::PT_LOAD => count += 1,
            elf::PT_INTERP => wrong(index, "PT_INTERP: a module is not a program".to_owned()),
            elf::PT_TLS => wrong(index, "PT_TLS: a kernel has no thread-local storage".to_owned()),
            elf::PT_DYNAMIC if !loaded => wrong(index, "PT_DYNAMIC is not in a PT_LOAD segment".to_owned()),
            _ => {}
        }
        if segment.kind != elf::PT_LOAD {
            continue;
        }
        if end_of_last.is_none() && (segment.offset, segment.address) != (0, 0) {
            // The kernel linker finds tables by address, and the header at the beginning.
            wrong(index, "the first PT_LOAD segment is not from the beginning of the file to 0".to_owned());
        }
        if end_of_last.is_some_and(|end| segment.address & !(PAGE - 1) < end) {
            wrong(index, "PT_LOAD segment that does not begin on a page behind the last one".to_owned());
        }
        if segment.has(elf::PF_W | elf::PF_X) {
            wrong(index, "PT_LOAD segment both writable and executable".to_owned());
        }
        if segment.file_size > segment.memory_size {
            wrong(index, "PT_LOAD segment with more bytes in the file than in memory".to_owned());
        }
        end_of_last = Some(segment.address.saturating_add(segment.memory_size));
    }
    if count > MAXSEGS {
        wrong(0, format!("{count} PT_LOAD segments: the kernel linker loads {MAXSEGS}"));
    }
    for (index, section) in module.loaded() {
        let needs = if section.is_code() { elf::PF_X } else { 0 };
        let empty = section.size == 0 || section.has(elf::SHF_TLS);
        if !empty && !module.is_in_memory(section.address, section.size, needs) {
            let message = format!("section {} is in no PT_LOAD segment for it", section.name);
            violations.push(Violation::at(module, index, 0, message));
        }
    }
    violations
}
