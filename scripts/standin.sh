#!/bin/sh
# standin.sh demo|check|stress [SECONDS]|COMMAND...: the finished module in its stand-in for the kernel; any other
# COMMAND is one of cargo, with what tests/standin needs: the kernel's headers, and frame pointers, as its threads'
# stacks are searched as those of a kernel are.
#
#	standin.sh run -q -p ktrace-standin -- run policies --seed 7 --deterministic
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

if [ "$(uname -s)" != Linux ]; then
	echo "standin: skipped: it runs on Linux only"
	exit 0
fi

kernel_flags
export RUSTFLAGS="-Cforce-frame-pointers=yes" CARGO_TARGET_DIR=target/standin

case $1 in
demo) cargo run -q -p ktrace-standin -- demo ;;
check)
	cargo test -q -p ktrace-standin
	cargo run -q -p ktrace-standin -- check
	# What make lint has built for the other release.
	other=$((14 + 15 - KERNEL))
	if [ -z "${KERNEL_HEADERS:-}" ] && [ -f "target/amd64-$other/ktrace_rs.ko" ]; then
		echo "the module for FreeBSD $other:"
		KERNEL=$other OSRELDATE= sh scripts/standin.sh run -q -p ktrace-standin -- \
		    check --module "target/amd64-$other/ktrace_rs.ko"
	fi
	;;
stress) cargo run -q -p ktrace-standin -- stress --seconds "${2:-60}" ;;
*) cargo "$@" ;;
esac
