#!/bin/sh
# userland.sh DIRECTORY: builds the programs that users run on FreeBSD, ktrstat and ktrcheck, for
# MACHINE into DIRECTORY.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

target
directory=$1
std=
case $MACHINE in
amd64) arch=x86_64 ;;
arm64)
	arch=aarch64
	# Rust ships no standard library for this target.
	export RUSTC_BOOTSTRAP=1
	std=-Zbuild-std=std,panic_abort
	;;
esac
triple=$arch-unknown-freebsd
linker=
if [ "$(uname -s)" = FreeBSD ]; then
	export RUSTFLAGS=-Ctarget-feature=+crt-static
else
	# zig has no static libc: the programs need libc.so.7 and libthr.so.3 of any FreeBSD from
	# 14.2 on.
	linker=$PWD/scripts/zigcc.sh
	export ZIG_TARGET="$arch-freebsd.14.2"
fi
CARGO_PROFILE_RELEASE_STRIP=symbols cargo ${linker:+--config "target.$triple.linker='$linker'"} build -q --release \
    -p ktrstat -p ktrcheck --target "$triple" $std --target-dir target/userland
mkdir -p "$directory"
cp "target/userland/$triple/release/ktrstat" "target/userland/$triple/release/ktrcheck" "$directory"
