#!/bin/sh
# Runs tests of the format and the engine under Miri, which detects races and undefined behaviour.
# Tests that make thousands of records take too long there, and say so themselves.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

if [ "$(uname -s)" = FreeBSD ]; then
	echo "miri: skipped: there is no Miri for FreeBSD"
	exit 77
fi

# Backtraces are off, because they take longer than the tests that panic.
export RUST_BACKTRACE=0 MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=1

miri() {
	cargo "+$MIRI_TOOLCHAIN" miri test -q --target-dir target/miri "$@"
}

# Miri uses one CPU. Two halves run side by side once there is a standard library for them.
miri -p ktrace-format --lib
miri -p ktrace-format --tests &
half=$!
miri -p ktrace-engine-tests
wait "$half"
