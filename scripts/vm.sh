#!/bin/sh
# vm.sh check|check-all|stress|bench|shell|fetch [IMAGE]: builds the files for the guests, and runs
# the VM runner with the Makefile's arguments.
#
# check-all runs all tests on all images. stress is check at full length. It writes the table of
# figures to tests/RESULTS.md and README.md, as bench writes its own to tests/bench and README.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

command=$1
image=${2:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ktrace_rs

# A machine has few CPUs, but most tests use one at a time, or wait. With more machines than the host
# has CPUs, tests that measure time fail. Loads at full length get the host to themselves.
jobs=$(getconf _NPROCESSORS_ONLN)
[ "$jobs" -le 4 ] || jobs=4

# Figures are those of the emulator, so that they compare between hosts.
case $command in
stress | bench) export KTRACE_VM_ACCEL="${KTRACE_VM_ACCEL:-tcg}" ;;
esac

# Files that measurements are written to, if they are all there.
files=
case $command in
check) set -- check --jobs "$jobs" ${PATIENCE:+--patience "$PATIENCE"} ;;
check-all) set -- check --all --jobs "$jobs" ;;
stress)
	set -- check --full --out target/stress
	rm -rf target/stress
	[ -n "${ONLY:-}" ] || files="tests/RESULTS.md README.md"
	;;
bench)
	set -- bench --out target/bench
	rm -rf target/bench
	[ -n "${ONLY:-}" ] || files="tests/bench README.md"
	;;
fetch) set -- fetch ${KERNEL:+--release "$KERNEL"} ;;
*) set -- "$command" ;;
esac

# Prepare each target that has an image. An image of any name may need each target, and may have a
# kernel with assertions.
for target in $(targets); do
	[ "$command" != fetch ] || break
	debug=-d
	if [ -z "$image" ]; then
		[ -f "$cache/$target-debug.img" ] || debug=
		[ -n "$debug" ] || [ -f "$cache/$target.img" ] || continue
	fi
	(
		export KERNEL="${target%-*}" MACHINE="${target#*-}"
		sh scripts/guest.sh $debug
	)
done
set -- "$@" ${image:+--image "$image"} ${ONLY:+--only "$ONLY"}
env $LINTED cargo run -q --bin ktrace-vm -- "$@"
case $command in
stress) set -- loads target/stress tests/vm/guest/tests $files ;;
bench) set -- benches target/bench $files ;;
*) exit 0 ;;
esac
exec env $LINTED cargo run -q --bin ktrace-bench -- "$@"
