#!/bin/sh
# check.sh TIER...: runs tiers of make check, each part within its time limit.
#
# Several tiers end with a summary, which is also in target/check.txt. A failed part ends its tier.
# The other tiers still run, unless it was setup or build. A part with status 77 had nothing to run
# on.
#
# PATIENCE=N   multiplies the time limits, for slow machines
set -u
cd "$(dirname "$0")/.."
. scripts/env.sh

summary=target/check.txt
mkdir -p target
: >"$summary"

# row NAME RESULT SINCE: prints a line of the summary, and adds it to the file.
row() {
	_took=$(($(date +%s) - $3))
	printf '%-16s %-8s %3d min %02d s\n' "$1" "$2" $((_took / 60)) $((_took % 60)) | tee -a "$summary"
}

# part NAME MINUTES COMMAND...: runs a part of a tier.
part() {
	_name=$1
	_limit=$(($2 * ${PATIENCE:-1}))m
	shift 2
	_since=$(date +%s)
	# In the background, so that the trap below is not put off until it ends.
	timeout -k 30 "$_limit" "$@" &
	running=$!
	wait "$running"
	_status=$?
	running=
	case $_status in
	0) passed=yes _result=ok ;;
	77) _result=skipped ;;
	124 | 137) failed=yes _result=FAILED _name="$_name, after $_limit" ;;
	*) failed=yes _result=FAILED ;;
	esac
	row "$_name" $_result "$_since"
	[ $_result != FAILED ]
}

running= passed= failed=
trap '[ -z "$running" ] || kill "$running"; exit 130' HUP INT TERM

# The limits are some times what the parts take on two CPUs.
tier() {
	case $1 in
	setup) part setup 30 sh scripts/setup.sh ;;
	build) part build 30 sh scripts/each.sh sh scripts/module.sh ;;
	lint) part lint 30 sh scripts/lint.sh ;;
	host)
		part "host tests" 30 env $LINTED cargo test -q &&
		    part "host arm64" 10 sh scripts/arm64.sh check &&
		    part "host fuzzers" 15 sh scripts/fuzz.sh &&
		    part "host miri" 30 sh scripts/miri.sh
		;;
	standin) part standin 45 sh scripts/standin.sh check ;;
	install)
		part "install files" 20 sh scripts/each.sh sh scripts/install.sh build &&
		    part "install tests" 10 sh scripts/each.sh sh tests/install.sh
		;;
	vm) part vm 120 sh scripts/vm.sh check ${IMAGE:+"$IMAGE"} ;;
	*) die "no tier $1" ;;
	esac
}

begun=$(date +%s)
for tier; do
	tier "$tier" || case $tier in setup | build) break ;; esac
done
result=ok
if [ -n "$failed" ] || [ -z "$passed" ]; then
	result=FAILED
fi
if [ $# -gt 1 ]; then
	echo "== summary"
	cat "$summary"
	row total $result "$begun"
fi
[ $result = ok ]
