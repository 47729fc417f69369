//! Writes the layout assertions of the kernel structures, and compiles the shims.
//!
//! It uses the compiler and the flags that `make` found.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use ktrace_layout::{Layout, TABLE};

fn main() {
    for directory in ["kmod/shims", "kmod/src/release"] {
        println!("cargo::rerun-if-changed={directory}");
    }
    println!("cargo::rerun-if-env-changed=KERNEL_CFLAGS");
    println!("cargo::rerun-if-env-changed=KERNEL_CC");
    let cflags = env::var("KERNEL_CFLAGS")
        .expect("KERNEL_CFLAGS: not set; build the module with make, which finds the headers");
    println!("cargo::rerun-if-env-changed=OSRELDATE");
    let date: u32 =
        env::var("OSRELDATE").ok().and_then(|date| date.parse().ok()).expect("OSRELDATE: not set");
    let release = date / 100_000;
    let feature = env::var_os(format!("CARGO_FEATURE_FREEBSD_{release}"));
    assert!(feature.is_some(), "FreeBSD {release}: no feature freebsd-{release}; there are 14 and 15");
    let machine = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        other => panic!("{other:?}: kmod/src/machine has amd64 and arm64"),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR is set by cargo"));
    let layout = Layout::parse(TABLE, &format!("{release}-{machine}"))
        .unwrap_or_else(|error| panic!("kmod/layout/table.txt: {error}"));
    fs::write(out.join("layout.h"), layout.c()).expect("OUT_DIR is writable");
    fs::write(out.join("layout.rs"), layout.rust()).expect("OUT_DIR is writable");
    let compiler = env::var("KERNEL_CC").unwrap_or_else(|_| "clang".to_owned());
    let mut build = cc::Build::new();
    build.compiler(compiler).no_default_flags(true).warnings(true).opt_level(2);
    for flag in cflags.split_whitespace() {
        build.flag(flag);
    }
    for flag in ["-O2", "-std=gnu17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"] {
        build.flag(flag);
    }
    build.include(&out);
    if env::var_os("CARGO_FEATURE_TEST_PARK").is_some() {
        build.define("KTRACE_RS_NAME", "ktrace_rs_park");
    }
    for entry in Path::new("kmod/shims").read_dir().expect("kmod/shims is a folder of this crate") {
        let path = entry.expect("kmod/shims can be read").path();
        if path.extension().is_some_and(|extension| extension == "c") {
            build.file(path);
        }
    }
    build.compile("shims");
}
