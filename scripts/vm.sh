#!/bin/sh
# vm.sh check|stress|bench|shell|fetch [IMAGE]: the VM runner with what the Makefile was given;
# stress is check at full length, and leaves the table of figures in tests/RESULTS.md and README.md.
#
# A kernel with INVARIANTS, in freebsd-debug.img beside the default image, gets the module with
# its own assertions on. At full length the two share the work: loads run where their figures
# count, all others where the kernel checks itself.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
target
module=$TARGET/ktrace_rs.ko

command=$1
image=${2:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ktrace_rs

# A machine has two CPUs, but most tests use one at a time, or wait. Loads at full length have the host for
# themselves.
jobs=$(getconf _NPROCESSORS_ONLN)
[ "$jobs" -le 4 ] || jobs=4

options= not_on_debug= on_plain=
[ "$command" != check ] || options="--jobs $jobs"
if [ "$command" = stress ]; then
	command=check
	options="--full --results tests/RESULTS.md --readme README.md"
	[ -n "${ONLY:-}" ] || { not_on_debug=loss_* on_plain=loss_*; }
fi

run() {
	[ "$command" = fetch ] || set -- --module "$module" --files "$TARGET/guest" "$@"
	cargo run -q -p ktrace-vm -- "$command" $options "$@" ${ONLY:+--only "$ONLY"}
}

if [ "$command" != check ] || [ -n "$image" ]; then
	run ${image:+--image "$image"}
elif [ ! -f "$cache/freebsd-debug.img" ]; then
	run
else
	status=0
	sh scripts/module.sh -d
	[ -f "$cache/freebsd.img" ] || not_on_debug=
	module=$TARGET/invariants/ktrace_rs.ko
	run --image "$cache/freebsd-debug.img" ${not_on_debug:+--skip "$not_on_debug"} || status=$?
	module=$TARGET/ktrace_rs.ko
	# Last, so that a stress run ends with its table.
	[ ! -f "$cache/freebsd.img" ] ||
	    run --image "$cache/freebsd.img" ${on_plain:+--only "$on_plain"} || status=$?
	exit "$status"
fi
