#!/bin/sh
# guest.sh [-d]: prepares target/KERNEL-MACHINE/guest, the programs, tests and modules that the VM
# tests need in the guest. With -d, it also builds the module with assertions.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

target
guest=$TARGET/guest
programs=target/$MACHINE/bin
mkdir -p "$guest"

[ "${1:-}" != -d ] || sh scripts/module.sh -d

# Programs for a machine run on each release.
sh scripts/progs.sh "$programs"
sh scripts/userland.sh "$programs"
mkdir -p "$guest/bin"
cp -p "$programs"/* "$guest/bin"

# Build modules that a kernel refuses: for the other release, if its headers are available; and without
# knowledge of one function. Also build one that parks a thread inside an entry. Beside the real module
# it is refused, too, because it finds the functions already redirected.
if [ "$(uname -s)" != FreeBSD ] && [ -z "${KERNEL_HEADERS:-}" ]; then
	KERNEL=$((14 + 15 - KERNEL)) OSRELDATE= sh scripts/module.sh -o "$guest/ktrace_rs_other.ko"
fi
sh scripts/module.sh -f test-missing-entry -o "$guest/ktrace_rs_missing.ko"
sh scripts/module.sh -f test-park -o "$guest/ktrace_rs_park.ko"

sh scripts/install.sh package >/dev/null

rm -rf "$guest/tests" "$guest/bench" "$guest/atf" "$guest/package" "$guest/tree"
cp -R tests/vm/guest/tests "$guest/tests"
cp -R tests/vm/guest/bench "$guest/bench"
cp -R tests/atf "$guest/atf"
cp -R "$TARGET/package" "$guest/package"
# The files of make install, without those that it installs.
mkdir -p "$guest/tree/scripts" "$guest/tree/packaging/port"
cp -R Cargo.toml share "$guest/tree"
cp scripts/env.sh scripts/install.sh "$guest/tree/scripts"
cp packaging/port/Makefile packaging/port/pkg-descr "$guest/tree/packaging/port"
cp share/man/man4/ktrace_rs.4 "$guest"
