#!/bin/sh
# standin.sh demo|check|compilers|stress [SECONDS]|COMMAND...: runs the finished module in the
# stand-in for the kernel.
#
# check does so for the module of each target, and with stock backends of several compilers; one of
# them is tried by compiler COMPILER LEVEL FRAME BRANCH, the last three being options of it. Any
# other COMMAND is a cargo command with the kernel headers that tests/standin needs.
#
#	standin.sh run -q -p ktrace-standin -- run policies --seed 7 --deterministic
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

if [ "$(uname -s)" != Linux ]; then
	echo "standin: skipped: it runs on Linux only"
	[ "$1" != check ] || exit 77
	exit 0
fi

chosen=$(targets)
given=${OSRELDATE:-}
kernel_flags
export KTRACE_RS_MODULE="$TARGET/ktrace_rs.ko"
export STOCK_SH="$PWD/scripts/stock.sh"
# Those of .cargo/config.toml hold.
unset RUSTFLAGS
export $LINTED
if [ "$MACHINE" = arm64 ]; then
	# Runs in an emulated process. None of its code uses x18, not even its libc.
	export RUSTFLAGS="-Cforce-frame-pointers=yes -Zfixed-x18 -Clink-self-contained=no"
	export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$ARM64_DIR CARGO_PROFILE_DEV_PANIC=abort
	export CARGO_BUILD_TARGET=aarch64-unknown-linux-musl CARGO_UNSTABLE_BUILD_STD=std,panic_abort
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER="$PWD/scripts/zigcc.sh"
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="$EMULATOR"
	export ZIG_TARGET="aarch64-linux-musl -mcpu=generic+reserve_x18"
fi

case $1 in
demo) cargo run -q -p ktrace-standin -- demo ;;
check)
	[ "$MACHINE" = arm64 ] || cargo test -q -p ktrace-standin
	for target in $chosen; do
		echo "the module for $target:"
		KERNEL=${target%-*} MACHINE=${target#*-} OSRELDATE=$given sh scripts/standin.sh check-module
		KERNEL=${target%-*} MACHINE=${target#*-} OSRELDATE=$given sh scripts/standin.sh compilers
	done
	;;
check-module)
	case $MACHINE in
	amd64)
		cargo run -q -p ktrace-standin -- check
		cargo run -q -p ktrace-standin -- budget tests/standin/budget.txt
		;;
	# Each runs in an emulated process, which is slow, and as many at a time as there are CPUs.
	arm64)
		cargo build -q -p ktrace-standin
		printf '%s\n' threads pingpong lifetimes policies limit refused probes |
		    xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" \
			cargo run -q -p ktrace-standin -- check --emulator "$EMULATOR"
		;;
	esac
	;;
compilers)
	# Each function of each stock backend is redirected, called and restored.
	case $MACHINE in
	amd64) branches="-fcf-protection=none -fcf-protection=branch" ;;
	arm64) branches="-mbranch-protection=none -mbranch-protection=bti -mbranch-protection=pac-ret
	    -mbranch-protection=standard -mbranch-protection=pac-ret+b-key" ;;
	esac
	cargo build -q -p ktrace-standin
	mkdir -p "$TARGET/stock"
	for compiler in $COMPILERS; do
		have "$compiler" || continue
		for level in -O0 -O1 -O2 -Os; do
			for frame in -fno-omit-frame-pointer -fomit-frame-pointer; do
				for branch in $branches; do
					echo "$compiler $level $frame $branch"
				done
			done
		done
	done >"$TARGET/stock/variants"
	[ -s "$TARGET/stock/variants" ] || die "none of $COMPILERS: run make setup"
	xargs -L 1 -P "$(getconf _NPROCESSORS_ONLN)" sh scripts/standin.sh compiler \
	    <"$TARGET/stock/variants" >"$TARGET/stock/results"
	grep -q redirected "$TARGET/stock/results" || die "no stock backend was redirected"
	echo "compilers: $(grep -c redirected "$TARGET/stock/results") stock backends redirected and given back," \
	    "$(grep -c short "$TARGET/stock/results") refused with a function too short for a jump"
	;;
compiler)
	shift
	stock=$TARGET/stock/$(echo "$*" | tr -d ' ').so
	sh scripts/stock.sh "$stock" "$@"
	if cargo run -q -p ktrace-standin -- run refused --stock "$stock" >/dev/null 2>"$stock.log"; then
		echo redirected
		exit
	fi
	# Without a frame, an amd64 wrapper may have four bytes, and a jump has five. FreeBSD's kernels
	# have frames.
	[ "$MACHINE$3" = amd64-fomit-frame-pointer ] &&
	    cargo run -q -p ktrace-standin -- run policies --stock "$stock" 2>&1 |
		grep -q 'is too short for a jump' || die "$stock: $(cat "$stock.log")"
	echo short
	;;
stress) cargo run -q -p ktrace-standin -- stress --seconds "${2:-60}" ;;
*) cargo "$@" ;;
esac
