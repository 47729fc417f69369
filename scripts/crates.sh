#!/bin/sh
# Writes the list of crates that the port needs to packaging/port: those of Cargo.lock and those of
# the standard library, from which core and alloc are built for the kernel.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

port=packaging/port
library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
cache=${CARGO_HOME:-$HOME/.cargo}/registry/cache

# crates LOCK...: prints "name-version checksum" of crates from crates.io, in C locale order.
crates() {
	awk -F '"' '/^name = / { name = $2 } /^version = / { version = $2 }
	    /^checksum = / { print name "-" version, $2 }' "$@" | LC_ALL=C sort -u
}

# list VARIABLE: prints an assignment of the names on standard input.
list() {
	awk -v start="$1=" '{ printf "%s%s\t%s", (NR > 1 ? " \\\n" : ""), start, $1; start = "" } END { print "" }'
}

mkdir -p target
cargo fetch -q --locked
RUSTC_BOOTSTRAP=1 cargo fetch -q --locked --manifest-path "$library/Cargo.toml"

{
	crates Cargo.lock | list CARGO_CRATES
	echo
	echo "# Of the standard library of Rust $(rustc --version | cut -d ' ' -f 2)."
	crates Cargo.lock >target/crates
	crates "$library/Cargo.lock" | LC_ALL=C comm -13 target/crates - | list CARGO_CRATES+
} >"$port/Makefile.crates"

{
	echo "TIMESTAMP = $(date +%s)"
	crates Cargo.lock "$library/Cargo.lock" | while read -r crate checksum; do
		file=$(echo "$cache"/*/"$crate.crate")
		[ -f "$file" ] || die "$crate is not in $cache"
		echo "SHA256 (rust/crates/$crate.crate) = $checksum"
		echo "SIZE (rust/crates/$crate.crate) = $(wc -c <"$file" | tr -d ' ')"
	done
} >"$port/distinfo"
