#!/bin/sh
# Builds the programs that users run on FreeBSD, ktrstat and ktrcheck, into DIRECTORY.
#
# userland.sh DIRECTORY
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

directory=$1
target=x86_64-unknown-freebsd
if [ "$(uname -s)" = FreeBSD ]; then
	export RUSTFLAGS=-Ctarget-feature=+crt-static
else
	# There is no static libc here: they need the libc.so.7 and libthr.so.3 of any FreeBSD from 14.2 on.
	export CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER="$PWD/scripts/zigcc.sh"
fi
CARGO_PROFILE_RELEASE_STRIP=symbols cargo build -q --release -p ktrstat -p ktrcheck --target "$target" --target-dir target/userland
mkdir -p "$directory"
cp "target/userland/$target/release/ktrstat" "target/userland/$target/release/ktrcheck" "$directory"
