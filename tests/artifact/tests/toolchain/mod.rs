//! Small modules for tests, assembled and linked with the tools that build the real one.

use std::fs;
use std::path::Path;
use std::process::Command;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Options of scripts/module.sh for a shared object.
pub(crate) const LINKED: [&str; 6] = [
    "-znorelro",
    "--hash-style=sysv",
    "--version-script",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../kmod/module.map"),
    "-m",
    "aarch64elf",
];

/// The linker sets that each module has.
const SETS: &str = "
    .macro linker_set name
    .globl __start_set_\\name, __stop_set_\\name
    .section set_\\name, \"aw\"
    1: .quad 1b
    .endm
    linker_set sysinit_set
    linker_set modmetadata_set
    .text
";

/// Assembles a module for amd64.
pub(crate) fn amd64(source: &str) -> Vec<u8> {
    amd64_bare(&format!("{}{source}", SETS.replace(".globl", "#")))
}

/// Assembles an object for amd64.
pub(crate) fn amd64_bare(source: &str) -> Vec<u8> {
    let folder = assemble("x86_64-unknown-freebsd14", source);
    fs::read(folder.path().join("a.o")).expect("object")
}

/// Assembles and links a module for arm64.
pub(crate) fn arm64(source: &str) -> Vec<u8> {
    arm64_bare(&format!("{SETS}{source}"), &LINKED)
}

/// Assembles a shared object for arm64, and links it with these options.
pub(crate) fn arm64_bare(source: &str, options: &[&str]) -> Vec<u8> {
    let folder = assemble("aarch64-unknown-freebsd15", source);
    run(folder.path(), "ld.lld", &[&["-shared", "-o", "a.ko", "a.o"], options].concat());
    fs::read(folder.path().join("a.ko")).expect("module")
}

/// Returns the source of a function.
pub(crate) fn function(name: &str, code: &str) -> String {
    format!(".type {name},%function\n{name}: {code}\nret\n.size {name},.-{name}\n")
}

fn assemble(target: &str, source: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("a.s"), source).expect("source");
    let mut options = vec!["-c", "-target", target, "-o", "a.o", "a.s"];
    if target.starts_with("aarch64") {
        options.push("-march=armv8.5-a+sve+crypto");
    }
    run(folder.path(), "clang", &options);
    folder
}

/// Runs a tool in a folder.
fn run(folder: &Path, tool: &str, arguments: &[&str]) {
    let script = format!(". scripts/env.sh && tool=$(tool {tool}) && cd \"$0\" && exec \"$tool\" \"$@\"");
    let mut command = Command::new("sh");
    command.current_dir(TOP).args(["-c", &script]).arg(folder).args(arguments);
    assert!(command.status().expect("sh").success(), "{tool} {arguments:?}");
}
