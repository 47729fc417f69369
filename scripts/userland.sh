#!/bin/sh
# Builds the programs that users run on FreeBSD, ktrstat and ktrcheck, into DIRECTORY.
#
# userland.sh DIRECTORY
#
# SYSROOT=DIR   a FreeBSD's files: its libc is linked in, as it is on FreeBSD itself
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

directory=$1
target=x86_64-unknown-freebsd
if [ "$(uname -s)" = FreeBSD ]; then
	export RUSTFLAGS=-Ctarget-feature=+crt-static
elif [ -n "${SYSROOT:-}" ]; then
	[ -f "$SYSROOT/usr/lib/libc.a" ] || die "SYSROOT=$SYSROOT: it has no usr/lib/libc.a"
	SYSROOT=$(cd "$SYSROOT" && pwd)
	CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER=$(tool clang) || die "no clang: run make setup"
	ld=$(tool ld.lld) || die "no ld.lld: run make setup"
	export CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER
	export RUSTFLAGS="-Ctarget-feature=+crt-static -Clink-arg=--target=$target -Clink-arg=--sysroot=$SYSROOT
	    -Clink-arg=--ld-path=$(command -v "$ld")"
else
	# zig has no static libc: they need the libc.so.7 and libthr.so.3 of any FreeBSD from 14.2 on.
	export CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER="$PWD/scripts/zigcc.sh"
fi
CARGO_PROFILE_RELEASE_STRIP=symbols cargo build -q --release -p ktrstat -p ktrcheck --target "$target" --target-dir target/userland
mkdir -p "$directory"
cp "target/userland/$target/release/ktrstat" "target/userland/$target/release/ktrcheck" "$directory"
