#!/bin/sh
# Formatting and lints with warnings denied, the manual pages, and the finished module's artifact check, for every
# release whose headers there are.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

cargo fmt --all --check
cargo clippy -q --all-targets -- -D warnings
sh scripts/standin.sh clippy -q -p ktrace-standin --all-targets -- -D warnings
format=$(tool clang-format) || die "no clang-format: run make setup"
"$format" --dry-run -Werror kmod/shims/*.c kmod/shims/*.h kmod/src/release/*.h

# What else is installed here says nothing about FreeBSD's manual.
man=$(mandoc -T lint share/man/man*/* 2>&1 |
    grep -v -e 'referenced manual not found' -e 'outdated mandoc.db') || true
[ -z "$man" ] || die "$man"

# lint_module FILE: the sources with the headers of this KERNEL, and FILE, which was made of them.
lint_module() {
	kernel_flags
	RUSTC_BOOTSTRAP=1 cargo clippy -q --release -p ktrace_rs --target x86_64-unknown-none \
	    -Zbuild-std=core,alloc --target-dir "target/kmod-$KERNEL" -- -D warnings
	symbols=target/kmod-$KERNEL/symbols.txt
	for list in tests/artifact/symbols.txt "kmod/src/release/freebsd$KERNEL.symbols"; do
		[ ! -f "$list" ] || grep -v '^#' "$list"
	done | LC_ALL=C sort >"$symbols"
	cargo run -q -p ktrace-artifact -- check --allow "$symbols" "$1"
}

lint_module target/ktrace_rs.ko
if [ "$(uname -s)" != FreeBSD ] && [ -z "${KERNEL_HEADERS:-}" ]; then
	other=$((14 + 15 - KERNEL))
	KERNEL=$other OSRELDATE= sh scripts/module.sh -o "target/$other/ktrace_rs.ko"
	(KERNEL=$other OSRELDATE= && lint_module "target/$other/ktrace_rs.ko")
fi
