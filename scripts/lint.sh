#!/bin/sh
# Formatting and lints with warnings denied, and the finished module's artifact check.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

kernel_flags
cargo fmt --all --check
cargo clippy -q --all-targets -- -D warnings
RUSTC_BOOTSTRAP=1 cargo clippy -q --release -p ktrace_rs --target x86_64-unknown-none \
    -Zbuild-std=core,alloc --target-dir target/kmod -- -D warnings
format=$(tool clang-format) || die "no clang-format: run make setup"
"$format" --dry-run -Werror kmod/shims/*.c kmod/shims/*.h
cargo run -q -p ktrace-artifact -- check --allow tests/artifact/symbols.txt target/ktrace_rs.ko
