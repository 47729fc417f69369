#!/bin/sh
# mutants.sh [PATCH...]: shows that the host tests can fail. Each patch of tests/mutants is a fault of
# the engine, named after it. The tests with the name of its folder must find it in a copy.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

copy=target/mutants/source
found=0
missed=

rm -rf "$copy"
mkdir -p "$copy"
cp -R Cargo.toml Cargo.lock build.rs bindings kmod ktrcheck ktrstat tests "$copy"

# host COMMAND...: runs a command of cargo in the copy.
host() {
	(cd "$copy" && RUSTFLAGS=--cap-lints=allow RUST_BACKTRACE=0 \
	    cargo "$@" -q --target-dir ../build) >"$copy/log" 2>&1
}

engine() {
	host test -p ktrace-engine-tests
}

# Tries few schedules first, then all of small scenarios, then many.
schedules() {
	SCHEDULES=40 host test -p ktrace-schedules --test schedules random && \
	    host test -p ktrace-schedules --test schedules exhaustive && \
	    SCHEDULES=400 host test -p ktrace-schedules --test schedules random
}

if ! engine || ! schedules; then
	cat "$copy/log" >&2
	die "tests fail without a fault"
fi
[ $# -ne 0 ] || set -- tests/mutants/*/*.patch
for mutant; do
	finder=$(basename "$(dirname "$mutant")")
	patch -s -p1 -F0 -d "$copy" <"$mutant" || die "$mutant does not apply"
	if ! host build -p ktrace-engine; then
		cat "$copy/log" >&2
		die "$mutant cannot be compiled"
	fi
	if $finder; then
		missed="$missed
	$mutant"
	else
		found=$((found + 1))
	fi
	cp kmod/engine/src/* "$copy/kmod/engine/src"
done

[ -z "$missed" ] || die "not found:$missed"
echo "mutants: all $found are found"
