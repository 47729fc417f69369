//! A wrong number fails the build, in C and in Rust.

use std::fs;
use std::process::Command;

use ktrace_layout::Layout;

const TABLE: &str = "target 1-a\nproc.p_pid 4\nproc.p_sub.type 12\nproc 16\n";

const C: &str = "\
#define __offsetof(type, field) __builtin_offsetof(type, field)
struct proc { int p_flag; int p_pid; struct { int state; int type; } p_sub; };
";

const RUST: &str = "\
#![allow(dead_code, non_camel_case_types)]
mod static_assertions {
    macro_rules! const_assert_eq {
        ($left:expr, $right:expr) => { const _: () = assert!($left == $right); };
    }
    pub(crate) use const_assert_eq;
}
mod kernel_sys {
    #[repr(C)] pub struct sub { pub state: i32, pub type_: i32 }
    #[repr(C)] pub struct proc_ { pub p_flag: i32, pub p_pid: i32, pub p_sub: sub }
}
";

/// Compiles both halves of a table, and returns how many errors each compiler reports.
fn errors(table: &str) -> (usize, usize) {
    let layout = Layout::parse(table, "1-a").expect("a table");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |compiler: &str, file: &str, text: String, options: &[&str], error: &str| {
        fs::write(folder.path().join(file), text).expect("the folder is writable");
        let output = Command::new(compiler).args(options).arg(file).current_dir(&folder).output();
        let output = output.expect("the compiler runs");
        let text = String::from_utf8_lossy(&output.stderr);
        let count = text.lines().filter(|line| line.contains(error)).count();
        assert_eq!(output.status.success(), count == 0, "{text}");
        count
    };
    let rust = ["--crate-type=lib", "--emit=metadata", "--edition=2024"];
    (
        run("cc", "half.c", format!("{C}{}", layout.c()), &["-fsyntax-only"], "error: static"),
        run("rustc", "half.rs", format!("{RUST}{}", layout.rust()), &rust, "error[E0080]"),
    )
}

#[test]
fn right_numbers_compile() {
    assert_eq!(errors(TABLE), (0, 0));
}

#[test]
fn each_wrong_number_is_an_error() {
    assert_eq!(errors(&TABLE.replace(" 4\n", " 0\n")), (1, 1));
    assert_eq!(errors(&TABLE.replace(" 12\n", " 8\n")), (1, 1));
    assert_eq!(errors(&TABLE.replace(" 16\n", " 24\n")), (1, 1));
}
