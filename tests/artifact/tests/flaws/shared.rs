//! The form of a shared object.

use std::sync::LazyLock;

use object::elf;

use crate::toolchain::{LINKED, arm64, arm64_bare, function};
use crate::{finds, finds_among, messages, patched, section};

/// Offsets in a program header.
const FLAGS: usize = 4;
const OFFSET: usize = 8;
const ADDRESS: usize = 16;
const MEMORY_SIZE: usize = 40;

/// Returns a module with code, data and all kinds of relocations.
fn module() -> Vec<u8> {
    static MODULE: LazyLock<Vec<u8>> =
        LazyLock::new(|| arm64(&(function("f", "bl free") + ".data; .quad free; .skip 64")));
    MODULE.clone()
}

/// Returns the offset of the program header of that type and number.
fn header(file: &[u8], kind: u32, number: usize) -> usize {
    let headers = (64..).step_by(56).take(file[56].into());
    headers.filter(|at| file[*at..at + 4] == kind.to_le_bytes()).nth(number).expect("program header")
}

/// Returns the module with a number in a program header changed.
fn with_header(kind: u32, number: usize, field: usize, value: u64) -> Vec<u8> {
    let file = module();
    let width = if field < OFFSET { 4 } else { 8 };
    patched(&file, header(&file, kind, number) + field, &value.to_le_bytes()[..width])
}

/// Returns the module with an entry of `PT_DYNAMIC` changed.
fn with_dynamic(tag: u32, change: impl Fn(u64) -> [u64; 2]) -> Vec<u8> {
    let file = module();
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("a word"));
    let at = (section(&file, ".dynamic")..).step_by(16).find(|at| word(*at) == tag.into()).expect("entry");
    let [tag, value] = change(word(at + 8));
    patched(&patched(&file, at, &tag.to_le_bytes()), at + 8, &value.to_le_bytes())
}

#[test]
fn a_module_passes() {
    assert_eq!(messages(&module()), [""; 0]);
}

#[test]
fn segments_are_those_that_the_kernel_loads() {
    const LOAD: u32 = elf::PT_LOAD;
    let order = "PT_LOAD segment that does not begin on a page behind the last one";
    let first = "the first PT_LOAD segment is not from the beginning of the file to 0";
    let cases = [
        (LOAD, 1, FLAGS, 7, "PT_LOAD segment both writable and executable"),
        (LOAD, 1, FLAGS, 4, "section .text is in no PT_LOAD segment for it"),
        (LOAD, 0, OFFSET, 0x40, first),
        (LOAD, 0, ADDRESS, 0x40, first),
        (LOAD, 2, ADDRESS, 0, order),
        (LOAD, 2, MEMORY_SIZE, 1, "PT_LOAD segment with more bytes in the file than in memory"),
        (elf::PT_DYNAMIC, 0, ADDRESS, 1 << 40, "PT_DYNAMIC is not in a PT_LOAD segment"),
        (elf::PT_DYNAMIC, 0, 0, 0, "no PT_DYNAMIC segment: the kernel would not know what to link"),
        (elf::PT_GNU_STACK, 0, 0, 3, "PT_INTERP: a module is not a program"),
        (elf::PT_GNU_STACK, 0, 0, 7, "PT_TLS: a kernel has no thread-local storage"),
    ];
    for (kind, number, field, value, expected) in cases {
        finds_among(&with_header(kind, number, field, value), expected);
    }
    let mut nothing = module();
    while let Some(at) = (64..).step_by(56).take(nothing[56].into()).find(|at| nothing[*at] == LOAD as u8) {
        nothing = patched(&nothing, at, &[0]);
    }
    finds_among(&nothing, "no PT_LOAD segment: there is nothing to load");
}

#[test]
fn there_are_at_most_four_segments_on_the_first_page() {
    let mut file = module();
    let last = header(&file, elf::PT_LOAD, 2);
    let count = file[56];
    // Program headers behind the first page, with more segments behind the last one.
    file.resize(file.len().max(4096), 0);
    let end = file.len();
    file.extend_from_within(64..64 + 56 * usize::from(count));
    for more in 1..=4_u64 {
        let from = file.len();
        file.extend_from_within(last..last + 56);
        file[from + ADDRESS..from + ADDRESS + 8].copy_from_slice(&(more << 32).to_le_bytes());
    }
    let file = patched(&file, 32, &(end as u64).to_le_bytes());
    let file_with = |more: u8| patched(&file, 56, &[count + more]);
    let page = |more: u8| {
        format!("they end at {:#x}: the kernel linker reads one page", end + 56 * usize::from(count + more))
    };
    let has = 4 - loaded(&module());
    assert_eq!(messages(&file_with(has)), [page(has)]);
    let many = "5 PT_LOAD segments: the kernel linker loads 4".to_owned();
    assert_eq!(messages(&file_with(has + 1)), [page(has + 1), many]);
}

/// Returns the number of segments that are loaded.
fn loaded(file: &[u8]) -> u8 {
    (64..).step_by(56).take(file[56].into()).filter(|at| file[*at] == elf::PT_LOAD as u8).count() as u8
}

#[test]
fn the_dynamic_table_has_only_what_the_kernel_does() {
    let expected = [
        (elf::DT_NEEDED, "DT_NEEDED: the metadata of a module has its dependencies"),
        (elf::DT_TEXTREL, "DT_TEXTREL: code cannot be relocated"),
        (elf::DT_REL, "DT_REL: arm64 uses DT_RELA"),
        (36, "DT_RELR: the kernel linker knows DT_RELA only"),
        (elf::DT_INIT, "DT_INIT: the kernel does not call it"),
        (elf::DT_FINI, "DT_FINI: the kernel does not call it"),
        (elf::DT_INIT_ARRAY, "DT_INIT_ARRAY: the kernel does not call it"),
        (elf::DT_FINI_ARRAY, "DT_FINI_ARRAY: the kernel does not call it"),
        (elf::DT_PREINIT_ARRAY, "DT_PREINIT_ARRAY: the kernel does not call it"),
    ];
    for (tag, message) in expected {
        finds(&with_dynamic(elf::DT_SYMENT, |value| [tag.into(), value]), message);
    }
    let flags = with_dynamic(elf::DT_SYMENT, |_| [elf::DT_FLAGS.into(), elf::DF_TEXTREL.into()]);
    finds(&flags, "DF_TEXTREL in DT_FLAGS: code cannot be relocated");
    finds(&with_dynamic(elf::DT_PLTREL, |value| [elf::DT_DEBUG.into(), value]), "DT_PLTREL is not DT_RELA");
}

#[test]
fn the_dynamic_table_leads_to_the_tables_of_the_file() {
    for (tag, name) in
        [(elf::DT_HASH, "DT_HASH"), (elf::DT_SYMTAB, "DT_SYMTAB"), (elf::DT_STRTAB, "DT_STRTAB")]
    {
        let missing = with_dynamic(tag, |value| [elf::DT_DEBUG.into(), value]);
        finds(&missing, &format!("no {name}: the kernel linker could look nothing up"));
        let elsewhere = with_dynamic(tag, |_| [tag.into(), 0x48]);
        finds(&elsewhere, &format!("{name} is 0x48, where no such section is"));
    }
    let file = module();
    finds(
        &patched(&file, section(&file, ".hash") + 4, &[1]),
        "the hash table is not one of the 6 symbols of .dynsym",
    );
    let tables = "DT_RELA and DT_JMPREL are not the relocation sections of the file";
    finds(&with_dynamic(elf::DT_RELASZ, |size| [elf::DT_RELASZ.into(), size - 24]), tables);
}

#[test]
fn options_of_the_linker_that_the_kernel_does_not_know_are_found() {
    let source = function("f", "") + ".section set_sysinit_set, \"aw\"; .balign 8; 1: .quad 1b";
    let linked = |more: &[&str]| arm64_bare(&source, &[&LINKED[..], more].concat());
    finds_among(&linked(&["--hash-style=gnu"]), "no DT_HASH: the kernel linker could look nothing up");
    finds_among(&linked(&["--pack-dyn-relocs=relr"]), "DT_RELR: the kernel linker knows DT_RELA only");
    finds_among(&linked(&["-zrel"]), "relocation in an SHT_REL table: arm64 uses SHT_RELA");
    let hidden = "bound of a linker set that .dynsym does not export: the set is not found";
    finds_among(&linked(&[]), hidden);
    let exports = arm64_bare(&function("f", "").replace("f:", ".globl f; f:"), &["--hash-style=sysv"]);
    finds_among(&exports, "exported: only linker sets are to be");
}

#[test]
fn sections_and_symbols_are_those_of_a_module() {
    let source = ".section .init_array,\"aw\",%init_array; .quad 0";
    finds_among(&arm64(source), "section .init_array has no place in a kernel module");
    finds_among(
        &arm64_bare("", &LINKED),
        "no section set_sysinit_set: the kernel would find nothing in the module",
    );
    let file = module();
    let name = b"\0free\0";
    let strings = section(&file, ".dynstr");
    let at = strings + file[strings..].windows(name.len()).position(|found| found == name).expect("free");
    finds_among(&patched(&file, at + 1, b"t"), "undefined symbol that .dynsym lacks");
}

#[test]
fn relocations_are_those_of_the_kernel_linker() {
    let file = module();
    let relocation = section(&file, ".rela.dyn");
    for kind in (0..2).chain(257..315).chain(1024..1040_u32) {
        let info = u64::from(kind) | 1 << 32;
        let found = messages(&patched(&file, relocation + 8, &info.to_le_bytes()));
        let known = [0, 257, 1025, 1026, 1027].contains(&kind);
        assert_eq!(found.is_empty(), known, "{kind}: {found:?}");
    }
    let with = |info: u64| patched(&file, relocation + 8, &info.to_le_bytes());
    finds(&with(elf::R_AARCH64_TLSDESC.into()), "relocation type 1031 is not one of a module for arm64");
    finds(&with(elf::R_AARCH64_ABS64.into()), "relocation against no symbol");
    let missing = "relocation against symbol 99, which is not there";
    finds(&with(99 << 32 | u64::from(elf::R_AARCH64_JUMP_SLOT)), missing);

    let data = header(&file, elf::PT_LOAD, 2);
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("a word"));
    let end = word(data + ADDRESS) + word(data + MEMORY_SIZE);
    let text = word(header(&file, elf::PT_LOAD, 1) + ADDRESS);
    let at = |address: u64| {
        let file = patched(&file, relocation, &address.to_le_bytes());
        patched(&file, relocation + 8, &u64::from(elf::R_AARCH64_RELATIVE).to_le_bytes())
    };
    assert_eq!(messages(&at(end - 8)), [""; 0]);
    for address in [0, text, end - 7, end, u64::MAX] {
        finds(&at(address), "relocation of a place that is not in a writable segment");
    }
}
