#!/bin/sh
# vm.sh check|stress|bench|shell|fetch [IMAGE]: the VM runner with what the Makefile was given;
# stress is check at full length, and leaves the table of figures in tests/RESULTS.md and README.md.
#
# A kernel with INVARIANTS, in freebsd-debug.img beside the default image, gets the module with
# its own assertions on.
set -eu
cd "$(dirname "$0")/.."

command=$1
image=${2:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ktrace_rs

full=
if [ "$command" = stress ]; then
	command=check
	full="--full --results tests/RESULTS.md --readme README.md"
fi

run() {
	cargo run -q -p ktrace-vm -- "$command" $full "$@" ${ONLY:+--only "$ONLY"}
}

if [ "$command" != check ] || [ -n "$image" ]; then
	run ${image:+--image "$image"}
elif [ ! -f "$cache/freebsd-debug.img" ]; then
	run
else
	status=0
	sh scripts/module.sh -d -o target/invariants/ktrace_rs.ko
	run --image "$cache/freebsd-debug.img" --module target/invariants/ktrace_rs.ko || status=$?
	# Last, so that a stress run ends with its table.
	[ ! -f "$cache/freebsd.img" ] || run --image "$cache/freebsd.img" || status=$?
	exit "$status"
fi
