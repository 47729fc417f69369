#!/bin/sh
# Prepares target/KERNEL-MACHINE/guest: the programs, tests and modules that the VM tier needs in the guest.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

target
guest=$TARGET/guest

sh scripts/progs.sh "$guest/bin"

# What a refused load looks like: the module for the other release, where its headers are at hand, and under
# another name, to find the entries redirected already. And one that has a thread inside a function that
# is redirected.
if [ "$(uname -s)" != FreeBSD ] && [ -z "${KERNEL_HEADERS:-}" ]; then
	(KERNEL=$((14 + 15 - KERNEL)) OSRELDATE= sh scripts/module.sh -o "$guest/ktrace_rs_other.ko")
fi
sh scripts/module.sh -f test-other-name -o "$guest/ktrace_rs_twin.ko"
sh scripts/module.sh -f test-park -o "$guest/ktrace_rs_park.ko"

sh scripts/userland.sh "$guest/bin"

sh scripts/install.sh package >/dev/null

rm -rf "$guest/tests" "$guest/bench" "$guest/atf" "$guest/package" "$guest/tree"
cp -R tests/vm/guest/tests "$guest/tests"
cp -R tests/vm/guest/bench "$guest/bench"
cp -R tests/atf "$guest/atf"
cp -R "$TARGET/package" "$guest/package"
# What make install is, but for what it installs.
mkdir -p "$guest/tree/scripts" "$guest/tree/packaging/port"
cp -R Cargo.toml share "$guest/tree"
cp scripts/env.sh scripts/install.sh "$guest/tree/scripts"
cp packaging/port/Makefile packaging/port/pkg-descr "$guest/tree/packaging/port"
cp share/man/man4/ktrace_rs.4 "$guest"
