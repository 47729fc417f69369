#!/bin/sh
# Links Rust programs for FreeBSD, or for ZIG_TARGET, on another system. It uses zig cc, and omits
# libraries that the crate libc names but no program uses and zig lacks.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. scripts/env.sh
export ZIG_GLOBAL_CACHE_DIR="$root/target/zig-cache" ZIG_LOCAL_CACHE_DIR="$root/target/zig-cache"
for argument do
	shift
	case $argument in
	-lkvm | -lmemstat | -lprocstat | -ldevstat | -m64 | -Wl,-O1) ;;
	*) set -- "$@" "$argument" ;;
	esac
done
exec "$root/$ZIG_DIR/ziglang/zig" cc -target ${ZIG_TARGET:-x86_64-freebsd.14.2} "$@"
