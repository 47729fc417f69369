//! The program as a build runs it: arguments, output and exit status.

use std::fs;
use std::process::{Command, Output};

mod toolchain;

use toolchain::{amd64, arm64, function};

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

/// Returns the source of a function that takes 40 bytes of stack and calls `free`.
fn source() -> String {
    function("f", "push %rbp; mov %rsp,%rbp; sub $32,%rsp; call free; leave")
}

#[test]
fn a_clean_module_exits_with_0_and_shows_its_size_and_five_frames() {
    let pushes = |name: &str, count| function(name, &"push $0;".repeat(count));
    let more: String =
        ["a", "b", "c", "d", "e"].iter().zip(1..).map(|(name, count)| pushes(name, count)).collect();
    let bss = ".bss; .skip 400; .data; .skip 20; .section .rodata,\"a\"; .skip 10; .section .x; .skip 3";
    let output = check(&amd64(&format!("{}{more}{bss}", source())), "free\n", &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let expected = "a.ko: text 50, rodata 10, data 36, bss 400 bytes\n\
                    a.ko: frame 40 bytes: e (.text+0x27)\n\
                    a.ko: frame 40 bytes: f (.text+0x0)\n\
                    a.ko: frame 32 bytes: d (.text+0x1e)\n\
                    a.ko: frame 24 bytes: c (.text+0x17)\n\
                    a.ko: frame 16 bytes: b (.text+0x12)\n\
                    a.ko: clean, functions checked: 6\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn each_violation_is_a_line_and_the_exit_status_1() {
    let source = source() + ".globl malloc; .reloc f+9, R_X86_64_GOTPCREL, malloc-4";
    let output = check(&amd64(&source), "free\nprintf\n", &["--max-frame", "39"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "a.ko: .text+0x9 (f): relocation type 9 is not known to the amd64 kernel linker\n\
                    a.ko: .text+0x9 (f): undefined symbol that the allow-list does not name: malloc\n\
                    symbols.txt: line 2 (printf): allowed, but the module does not use it\n\
                    a.ko: .text+0x0 (f): stack frame of 40 bytes, over 39\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("a.ko: 4 violations\n"));
}

#[test]
fn a_module_for_arm64_is_told_by_its_header() {
    let frame = "str x30, [sp, #-16]!; bl free; ldr x30, [sp], #16";
    let output = check(&arm64(&function("f", frame)), "free\n", &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(summary.contains("a.ko: frame 16 bytes: f (.text+0x0)\na.ko: clean"), "{summary}");

    let output = check(&arm64(&function("f", frame)), "", &["--max-frame", "15"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 2);
}

#[test]
fn what_cannot_be_checked_exits_with_2() {
    let output = check(b"not an object", "", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("ktrace-artifact: a.ko: not an ELF64 file"));
    let mut half = amd64("");
    half.truncate(half.len() / 2);
    assert_eq!(check(&half, "", &[]).status.code(), Some(2));
    assert_eq!(check(&amd64(""), "", &["--max-frame", "much"]).status.code(), Some(2));
}
