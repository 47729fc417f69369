//! Compiles the stock backend, with the compiler and the linker that scripts/standin.sh has found.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=stock");
    for name in ["STOCK_SH", "MACHINE", "OSRELDATE"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let script = env::var("STOCK_SH").expect("STOCK_SH: not set; run scripts/standin.sh");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR is set by cargo"));
    let status = Command::new("sh").arg(script).arg(out.join("kern_ktrace.so")).status().expect("sh starts");
    assert!(status.success(), "the stock backend does not compile");
}
