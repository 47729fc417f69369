#!/bin/sh
# vm.sh check|check-all|stress|bench|shell|fetch [IMAGE]: builds the files for the guests, and runs
# the VM runner with the Makefile's arguments.
#
# check-all runs all tests on all images. stress is check at full length, and writes the table of
# figures to tests/RESULTS.md and README.md.
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

case $command in
check) set -- check --jobs "$jobs" ;;
check-all) set -- check --all --jobs "$jobs" ;;
stress) set -- check --full --results tests/RESULTS.md --readme README.md ;;
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
set -- "$@" ${image:+--image "$image"} ${ONLY:+--only "$ONLY"} ${PATIENCE:+--patience "$PATIENCE"}
exec env $LINTED cargo run -q --bin ktrace-vm -- "$@"
