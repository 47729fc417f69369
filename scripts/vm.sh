#!/bin/sh
# vm.sh check|check-all|stress|bench|shell|fetch [IMAGE]: builds what the guests need, and runs the VM runner
# with what the Makefile was given.
#
# check-all runs all tests on all images. stress is check at full length, and leaves the table of figures in
# tests/RESULTS.md and README.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

command=$1
image=${2:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ktrace_rs

# A machine has few CPUs, but most tests use one at a time, or wait. Loads at full length have the host for
# themselves.
jobs=$(getconf _NPROCESSORS_ONLN)
[ "$jobs" -le 4 ] || jobs=4

case $command in
check) set -- check --jobs "$jobs" ;;
check-all) set -- check --all --jobs "$jobs" ;;
stress) set -- check --full --results tests/RESULTS.md --readme README.md ;;
fetch) set -- fetch ${KERNEL:+--release "$KERNEL"} ;;
*) set -- "$command" ;;
esac

# Prepares a target where there is an image for it. An image of any name may need each of them, and have a
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
exec cargo run -q -p ktrace-vm -- "$@" ${image:+--image "$image"} ${ONLY:+--only "$ONLY"}
