//! Headers, sections, relocations and symbols of a relocatable module.

use object::elf;

use crate::toolchain::{amd64, amd64_bare, arm64, function};
use crate::{finds, finds_among, lines, messages, patched, section, section_header, symbol};

/// Linker sets without relocations, the latter of some size.
const SETS: &str = ".section set_sysinit_set,\"a\"; .quad 0; .section set_modmetadata_set,\"a\"; .skip SIZE";

#[test]
fn a_module_passes() {
    let source =
        function("f", "call free") + ".section .gotcha,\"a\"; .quad 0; .section .eh_frame,\"a\"; .long 0";
    assert_eq!(lines(&amd64(&source), "# kernel\n\n  free  # M_KTRACE\n"), [""; 0]);
}

#[test]
fn another_machine_s_file_is_found() {
    for file in [amd64(""), arm64("")] {
        let file = patched(&file, 18, &elf::EM_RISCV.to_le_bytes());
        let expected = "ko: ELF header+0x12 (-): e_machine is 243, neither EM_X86_64 nor EM_AARCH64";
        assert_eq!(lines(&file, ""), [expected]);
    }
}

#[test]
fn another_form_is_found() {
    let os_abi = "EI_OSABI is 0, not that of FreeBSD: link with -m elf_x86_64_fbsd";
    finds(&patched(&amd64(""), 7, &[elf::ELFOSABI_NONE]), os_abi);
    finds(&patched(&amd64(""), 16, &elf::ET_DYN.to_le_bytes()), "e_type is 3, not ET_REL: link with -r");
    let shared = "e_type is 1, not ET_DYN: link with -shared";
    finds_among(&patched(&amd64(""), 18, &elf::EM_AARCH64.to_le_bytes()), shared);
}

#[test]
fn the_linker_sets_are_there() {
    let nothing = "the kernel would find nothing in the module";
    let expected =
        ["set_modmetadata_set", "set_sysinit_set"].map(|set| format!("no section {set}: {nothing}"));
    assert_eq!(messages(&amd64_bare("")), expected);
    for size in [0, 7] {
        let source = SETS.replace("SIZE", &size.to_string());
        finds(&amd64_bare(&source), &format!("a linker set of {size} bytes is not a list of pointers"));
    }
}

#[test]
fn sections_without_a_place_are_found() {
    for name in [".init_array", ".init_array.5", ".eh_frame_hdr", ".got", ".got.plt", ".plt", ".ctors"] {
        let source = format!(".section {name},\"aw\"; .quad 0");
        finds(&amd64(&source), &format!("section {name} has no place in a kernel module"));
    }
    let array = ".section start,\"aw\",@init_array; .quad 0";
    finds(&amd64(array), "section start has no place in a kernel module");
    finds(&amd64(".section .patch,\"awx\"; .skip 8"), "section both writable and executable");
    let thread_local = ".section .tdata,\"awT\",@progbits; .type mine,@object; mine: .quad 0; .size mine,8";
    let nothing = ": a kernel has no thread-local storage";
    let expected = ["section", "symbol"].map(|what| format!("thread-local {what}{nothing}"));
    assert_eq!(messages(&amd64(thread_local)), expected);
    let file = amd64_bare(&SETS.replace("SIZE", "8"));
    let stripped = patched(&file, section_header(&file, ".symtab") + 4, &elf::SHT_PROGBITS.to_le_bytes());
    finds_among(&stripped, "0 symbol tables: the kernel linker wants one");
}

#[test]
fn relocations_are_those_of_the_kernel_linker() {
    let file = amd64(&function("f", "call free; call free; .skip 5, 0x90"));
    let relocation = section(&file, ".rela.text");
    for kind in 0..48_u8 {
        let found = messages(&patched(&file, relocation + 8, &[kind]));
        let known = [0, 1, 2, 4, 11].contains(&kind);
        assert_eq!(found.is_empty(), known, "{kind}: {found:?}");
    }
    let got = "relocation type 9 is not known to the amd64 kernel linker";
    finds(&patched(&file, relocation + 8, &[elf::R_X86_64_GOTPCREL as u8]), got);
    // The text has 16 bytes.
    assert_eq!(messages(&patched(&file, relocation, &[12])), [""; 0]);
    finds(&patched(&file, relocation, &[13]), "relocation that reaches over the end of the section");
    let wide = patched(&patched(&file, relocation, &[9]), relocation + 8, &[elf::R_X86_64_64 as u8]);
    finds(&wide, "relocation that reaches over the end of the section");
    let missing = "relocation against symbol 255, which is not there";
    finds(&patched(&file, relocation + 12, &[255]), missing);
    let table = section_header(&file, ".rela.text");
    let table = patched(&patched(&file, table + 4, &[elf::SHT_REL as u8]), table + 56, &[16]);
    finds_among(&table, "relocation in an SHT_REL table: amd64 uses SHT_RELA");
}

#[test]
fn only_sections_in_memory_are_relocated() {
    assert_eq!(messages(&amd64(".section .debug_info; .long free")), [""; 0]);
    let note = ".section .note.x,\"a\",@note; .quad free";
    finds(&amd64(note), "relocation in a section of type 0x7, which is not loaded");
}

#[test]
fn undefined_symbols_are_those_of_the_list() {
    let calls = |names: &[&str]| {
        let calls: String = names.iter().map(|name| format!("call {name};")).collect();
        amd64(&function("f", &calls))
    };
    assert_eq!(lines(&calls(&["malloc", "free"]), "# both\nfree\nmalloc # and this\n"), [""; 0]);
    let expected = "ko: .text+0x6 (f): undefined symbol that the allow-list does not name: free";
    assert_eq!(lines(&calls(&["malloc", "free"]), "malloc\n"), [expected]);
    let expected = "undefined symbol that the allow-list does not name";
    finds(&amd64(".globl printf"), expected);
    let unused = "allowed, but the module does not use it";
    assert_eq!(lines(&calls(&["free"]), "free\npanic\n"), [format!("list: line 2 (panic): {unused}")]);
    assert_eq!(lines(&calls(&[]), "f\n"), [format!("list: line 1 (f): {unused}")]);
    for name in ["__rust_alloc", "_RNvCsabc_7___rustc12___rust_alloc"] {
        let found = lines(&calls(&[name]), &format!("{name}\n"));
        assert!(found.len() == 1 && found[0].contains("Rust runtime"), "{found:?}");
    }
    finds(&amd64(".comm buffer,64,8"), "common symbol of 64 bytes: no place was given to it");
    let file = amd64(".globl free");
    finds(&patched(&file, symbol(&file, "free") + 4, &[elf::STB_LOCAL << 4]), "undefined local symbol");
}

#[test]
fn the_list_is_in_order_and_without_doubles() {
    let both = amd64(&function("f", "call malloc; call free"));
    assert_eq!(lines(&both, "malloc\nfree\n"), ["list: line 2 (free): not in order"]);
    assert_eq!(lines(&both, "free\nfree\nmalloc\n"), ["list: line 2 (free): the name is there twice"]);
    assert!(lines(&both, "free malloc\n")[2].contains("more than one name on a line"));
}
