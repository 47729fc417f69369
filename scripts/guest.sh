#!/bin/sh
# Prepares target/guest: the programs, tests and modules that the VM tier needs in the guest.
set -eu
cd "$(dirname "$0")/.."

guest=target/guest

sh scripts/progs.sh "$guest/bin"

# What a refused load looks like: the module built for another release, and under another
# name, to find the entries redirected already. And one that has a thread inside a function that
# is redirected.
sh scripts/module.sh -f test-other-release -o "$guest/ktrace_rs_other.ko"
sh scripts/module.sh -f test-other-name -o "$guest/ktrace_rs_twin.ko"
sh scripts/module.sh -f test-park -o "$guest/ktrace_rs_park.ko"

sh scripts/userland.sh "$guest/bin"

sh scripts/install.sh package >/dev/null

rm -rf "$guest/tests" "$guest/bench" "$guest/atf" "$guest/package"
cp -R tests/vm/guest/tests "$guest/tests"
cp -R tests/vm/guest/bench "$guest/bench"
cp -R tests/atf "$guest/atf"
cp -R target/package "$guest/package"
cp share/man/man4/ktrace_rs.4 "$guest"
