#!/bin/sh
# arm64.sh check|COMMAND...: tests the module's arm64 code by itself, in an emulated process. Any
# other COMMAND is a cargo command for tests/machine.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

if [ "$(uname -s)" != Linux ] || [ -n "${KERNEL_HEADERS:-}" ]; then
	echo "arm64: skipped: it is tried on Linux, with the headers of FreeBSD 14 and 15"
	[ "$1" != check ] || exit 77
	exit 0
fi
MACHINE=arm64
kernel_flags
ld=$(tool ld.lld) || die "no ld.lld: run make setup"
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$ARM64_DIR $LINTED
export CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER="$ld"
export RUSTFLAGS="-Crelocation-model=static -Zfixed-x18 -Zbranch-protection=bti -Cforce-frame-pointers=yes"
package="-q -p ktrace-machine --target $MODULE_TARGET -Zbuild-std=core"

case $1 in
check)
	cargo build $package
	$EMULATOR "$ARM64_DIR/$MODULE_TARGET/debug/ktrace-machine"
	;;
*)
	command=$1
	shift
	cargo "$command" $package "$@"
	;;
esac
