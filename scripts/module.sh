#!/bin/sh
# Builds target/ktrace_rs.ko.
#
# module.sh [-f FEATURES] [-o FILE] [-d]: -d with debug assertions
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

features=
output=target/ktrace_rs.ko
assertions=
while getopts df:o: option; do
	case $option in
	d) assertions=-Cdebug-assertions=on ;;
	f) features="--features $OPTARG" ;;
	o) output=$OPTARG ;;
	*) exit 64 ;;
	esac
done

kernel_flags
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Crelocation-model=static -Ccode-model=kernel -Crelro-level=off \
-Cforce-frame-pointers=yes $assertions"
build=target/kmod-$KERNEL${assertions:+-invariants}
cargo build -q --release -p ktrace_rs --target x86_64-unknown-none -Zbuild-std=core,alloc \
    --target-dir "$build" $features

# Leave compiler_builtins out: the kernel has memcpy(9) and its like, chosen for the CPU.
objects=$build/objects
rm -rf "$objects"
mkdir -p "$objects"
(cd "$objects" && ar x ../x86_64-unknown-none/release/libktrace_rs.a && rm -f compiler_builtins-*)

mkdir -p "$(dirname "$output")"
ld=$(tool ld.lld) || die "no ld.lld: run make setup"
"$ld" -m elf_x86_64_fbsd -r -S -T kmod/module.ld -o "$output.new" "$objects"/*.o
mv "$output.new" "$output"
