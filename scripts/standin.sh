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
export MACHINE KERNEL
export RUSTFLAGS="-Cforce-frame-pointers=yes" CARGO_TARGET_DIR=target/standin
if [ "$MACHINE" = arm64 ]; then
	# In an emulated process; nothing of it uses x18, its libc included.
	export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/standin-arm64 RUSTFLAGS="$RUSTFLAGS -Zfixed-x18 -Clink-self-contained=no"
	export CARGO_BUILD_TARGET=aarch64-unknown-linux-musl CARGO_UNSTABLE_BUILD_STD=std,panic_abort
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER="$PWD/scripts/zigcc.sh"
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="$EMULATOR"
	export ZIG_TARGET="aarch64-linux-musl -mcpu=generic+reserve_x18"
fi

case $1 in
demo) cargo run -q -p ktrace-standin -- demo ;;
check)
	[ "$MACHINE" = amd64 ] || die "check: it runs on amd64, and has the module for arm64 among what it checks"
	cargo test -q -p ktrace-standin
	cargo run -q -p ktrace-standin -- check
	# What make lint has built for the other release, and for arm64.
	other=$((14 + 15 - KERNEL))
	if [ -z "${KERNEL_HEADERS:-}" ] && [ -f "target/amd64-$other/ktrace_rs.ko" ]; then
		echo "the module for FreeBSD $other:"
		KERNEL=$other OSRELDATE= sh scripts/standin.sh run -q -p ktrace-standin -- \
		    check --module "target/amd64-$other/ktrace_rs.ko"
	fi
	if [ -z "${KERNEL_HEADERS:-}" ] && [ -f "target/arm64-$KERNEL/ktrace_rs.ko" ]; then
		echo "the module for arm64, in an emulated process:"
		MACHINE=arm64 OSRELDATE= sh scripts/standin.sh run -q -p ktrace-standin -- \
		    check --module "target/arm64-$KERNEL/ktrace_rs.ko" --emulator "$EMULATOR" \
		    refused probes threads pingpong policies limit lifetimes
	fi
	;;
stress) cargo run -q -p ktrace-standin -- stress --seconds "${2:-60}" ;;
*) cargo "$@" ;;
esac
