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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_builder::{Segment, SharedBuilder};
    use crate::violation;

    fn messages(elf: &SharedBuilder) -> Vec<String> {
        violation::messages(&elf.build(), check)
    }

    /// Returns the messages for a module with one program header changed or added.
    fn with_segment(index: usize, segment: Segment) -> Vec<String> {
        let mut elf = SharedBuilder::module();
        match elf.segments.get_mut(index) {
            Some(old) => *old = segment,
            None => elf.segments.push(segment),
        }
        messages(&elf)
    }

    #[test]
    fn at_most_four_segments_are_loaded() {
        let mut elf = SharedBuilder::module();
        let more = |address| Segment { address, offset: 0, ..elf.segments[0] };
        let more = [more(0x10000), more(0x20000)];
        elf.segments.push(more[0]);
        assert_eq!(messages(&elf), [""; 0]);
        elf.segments.push(more[1]);
        assert_eq!(messages(&elf), ["5 PT_LOAD segments: the kernel linker loads 4"]);
    }

    #[test]
    fn segments_are_in_order_and_do_not_share_a_page() {
        let segments = SharedBuilder::module().segments;
        for address in [0, 0x2fff] {
            assert_eq!(
                with_segment(9, Segment { address, ..segments[0] }),
                ["PT_LOAD segment that does not begin on a page behind the last one"]
            );
        }
        assert_eq!(with_segment(9, Segment { address: 0x3000, ..segments[0] }), [""; 0]);
    }

    #[test]
    fn the_first_segment_has_the_header() {
        let segments = SharedBuilder::module().segments;
        let expected = "the first PT_LOAD segment is not from the beginning of the file to 0";
        assert_eq!(with_segment(0, Segment { offset: 0x40, ..segments[0] }), [expected]);
        let moved = Segment { address: 0x40, file_size: 0xfc0, memory_size: 0xfc0, ..segments[0] };
        assert_eq!(with_segment(0, moved), [expected]);
    }

    #[test]
    fn a_writable_and_executable_segment_is_found() {
        let segments = SharedBuilder::module().segments;
        assert_eq!(
            with_segment(1, Segment { flags: elf::PF_R | elf::PF_W | elf::PF_X, ..segments[1] }),
            ["PT_LOAD segment both writable and executable"]
        );
    }

    #[test]
    fn a_segment_is_not_larger_in_the_file() {
        let segments = SharedBuilder::module().segments;
        assert_eq!(
            with_segment(2, Segment { file_size: 0x1001, ..segments[2] }),
            ["PT_LOAD segment with more bytes in the file than in memory"]
        );
    }

    #[test]
    fn the_dynamic_segment_is_there_and_loaded() {
        let segments = SharedBuilder::module().segments;
        let dynamic = segments.iter().position(|segment| segment.kind == elf::PT_DYNAMIC).unwrap();
        assert_eq!(
            with_segment(dynamic, Segment { address: 0x8000, ..segments[dynamic] }),
            ["PT_DYNAMIC is not in a PT_LOAD segment"]
        );
        let found = with_segment(dynamic, Segment { kind: elf::PT_NULL, ..segments[dynamic] });
        assert!(found[0].starts_with("no PT_DYNAMIC segment"), "{found:?}");
    }

    #[test]
    fn other_programs_segments_are_found() {
        let segments = SharedBuilder::module().segments;
        let found = with_segment(9, Segment { kind: elf::PT_INTERP, ..segments[0] });
        assert_eq!(found, ["PT_INTERP: a module is not a program"]);
        let found = with_segment(9, Segment { kind: elf::PT_TLS, ..segments[0] });
        assert_eq!(found, ["PT_TLS: a kernel has no thread-local storage"]);
    }

    #[test]
    fn the_program_headers_are_on_the_first_page() {
        let mut elf = SharedBuilder::module();
        elf.segments_at = 0xfff;
        assert_eq!(messages(&elf), ["they end at 0x10df: the kernel linker reads one page"]);
    }

    #[test]
    fn a_section_that_is_not_loaded_is_found() {
        let mut elf = SharedBuilder::module();
        elf.function("f", &[0xd65f_03c0]);
        elf.segments[1].flags = elf::PF_R;
        assert_eq!(messages(&elf), ["section .text is in no PT_LOAD segment for it"]);
    }
}
