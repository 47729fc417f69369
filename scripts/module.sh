#!/bin/sh
# Builds the module for KERNEL and MACHINE, as target/KERNEL-MACHINE/ktrace_rs.ko.
#
# module.sh [-f FEATURES] [-o FILE] [-d]
#
# -d   build with debug assertions, as target/KERNEL-MACHINE/invariants/ktrace_rs.ko
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

features=
output=
assertions=
while getopts df:o: option; do
	case $option in
	d) assertions=-Cdebug-assertions=on ;;
	f) features=$features,$OPTARG ;;
	o) output=$OPTARG ;;
	*) exit 64 ;;
	esac
done

kernel_flags
export RUSTC_BOOTSTRAP=1
case $MACHINE in
amd64) machine_flags="-Crelocation-model=static -Ccode-model=kernel" ;;
arm64) machine_flags="-Crelocation-model=pic -Zfixed-x18 -Zbranch-protection=bti -Cforce-unwind-tables=no" ;;
esac
export RUSTFLAGS="$machine_flags -Crelro-level=off -Cforce-frame-pointers=yes $assertions"
[ -z "$assertions" ] || : "${output:=$TARGET/invariants/ktrace_rs.ko}"
: "${output:=$TARGET/ktrace_rs.ko}"
cargo build -q --release -p ktrace_rs --features "freebsd-$KERNEL$features" --target "$MODULE_TARGET" \
    -Zbuild-std=core,alloc --target-dir "$BUILD"

# Omit compiler_builtins: the kernel has memcpy(9) and similar functions, chosen for the CPU.
objects=$BUILD/objects
rm -rf "$objects"
mkdir -p "$objects"
(cd "$objects" && ar x "../$MODULE_TARGET/release/libktrace_rs.a" && rm -f compiler_builtins-*)

# Link the format that the machine's kernel linker loads: a relocatable object, or a shared object
# in which it finds the linker sets by name.
mkdir -p "$(dirname "$output")"
ld=$(tool ld.lld) || die "no ld.lld: run make setup"
case $MACHINE in
amd64) "$ld" -m elf_x86_64_fbsd -r -S -T kmod/module.ld -o "$output.new" "$objects"/*.o ;;
arm64)
	"$ld" -m aarch64elf -shared -S -z norelro --hash-style=sysv --version-script=kmod/module.map \
	    -o "$output.new" "$objects"/*.o
	;;
esac
mv "$output.new" "$output"
