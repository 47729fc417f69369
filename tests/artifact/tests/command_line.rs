//! The program as a build runs it: arguments, output and exit status.

use std::fs;
use std::process::{Command, Output};

#[path = "../src/elf_builder.rs"]
#[expect(dead_code, reason = "the unit tests use more of it")]
mod elf_builder;
#[path = "../src/shared_builder.rs"]
#[expect(dead_code, reason = "the unit tests use more of it")]
mod shared_builder;

use elf_builder::ElfBuilder;
use object::elf;
use shared_builder::SharedBuilder;

/// Runs the check on a module and an allow-list.
fn check(module: &[u8], allow: &str, options: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("a.ko"), module).expect("module");
    fs::write(folder.path().join("symbols.txt"), allow).expect("list");
    Command::new(env!("CARGO_BIN_EXE_ktrace-artifact"))
        .current_dir(folder.path())
        .args(["check", "--allow", "symbols.txt"])
        .args(options)
        .arg("a.ko")
        .output()
        .expect("run")
}

/// Returns a module whose function takes 40 bytes of stack and calls `free`.
fn module() -> ElfBuilder {
    let mut elf = ElfBuilder::module();
    let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xe8, 0, 0, 0, 0, 0xc9, 0xc3];
    elf.function("f", code);
    elf.relocate(".text", 9, elf::R_X86_64_PLT32, "free", -4);
    elf
}

#[test]
fn a_clean_module_exits_with_0_and_shows_its_size() {
    let output = check(&module().build(), "free\n", &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let expected = "a.ko: text 15, rodata 16, data 0, bss 0 bytes\n\
                    a.ko: frame 40 bytes: f (.text+0x0)\n\
                    a.ko: clean, functions checked: 1\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn a_module_for_arm64_is_told_by_its_header() {
    let mut elf = SharedBuilder::module();
    // str x30, [sp, #-16]!; ldr x30, [sp], #16; ret
    elf.function("f", &[0xf81f_0ffe, 0xf841_07fe, 0xd65f_03c0]);
    elf.undefined("free");
    let output = check(&elf.build(), "free\n", &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(summary.ends_with("a.ko: frame 16 bytes: f (.text+0x0)\na.ko: clean, functions checked: 1\n"));

    // ldadd w0, w1, [x2]; mov x18, x0
    elf.function("g", &[0xb820_0041, 0xaa00_03f2]);
    let output = check(&elf.build(), "", &["--max-frame", "15"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "a.ko: .dynsym+0x78 (free): undefined symbol that the allow-list does not name\n\
                    a.ko: .text+0xc (g): atomic instruction that ARMv8.0 does not have: ldadd w0, w1, [x2]\n\
                    a.ko: .text+0x10 (g): x18 is for reading the struct pcpu that it points to: mov x18, x0\n\
                    a.ko: .text+0x0 (f): stack frame of 16 bytes, over 15\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn each_violation_is_a_line_and_the_exit_status_1() {
    let mut elf = module();
    elf.relocate(".text", 9, elf::R_X86_64_GOTPCREL, "malloc", -4);
    let output = check(&elf.build(), "free\nprintf\n", &["--max-frame", "39"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "a.ko: .text+0x9 (f): relocation R_X86_64_GOTPCREL is not known to the amd64 kernel linker\n\
                    a.ko: .text+0x9 (f): undefined symbol that the allow-list does not name: malloc\n\
                    symbols.txt: line 2 (printf): allowed, but the module does not use it\n\
                    a.ko: .text+0x0 (f): stack frame of 40 bytes, over 39\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("a.ko: 4 violations\n"));
}

#[test]
fn what_cannot_be_checked_exits_with_2() {
    let output = check(b"not an object", "", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("ktrace-artifact: a.ko: not an ELF64 file"));
    assert_eq!(check(&module().build(), "free\n", &["--max-frame", "much"]).status.code(), Some(2));
}
