#!/bin/sh
# Prepares target/guest: the programs, tests and modules that the VM tier needs in the guest.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

guest=target/guest
progs=tests/vm/guest/progs
progs32=tests/vm/guest/progs32
mkdir -p "$guest/bin"

# compile SOURCE OUTPUT COMMAND...: only if the source, or a header beside it, is newer.
compile() {
	_source=$1
	_output=$2
	shift 2
	if [ -f "$_output" ] && [ -z "$(find "$(dirname "$_source")" -newer "$_output" \
	    \( -name '*.h' -o -path "$_source" \))" ]; then
		return 0
	fi
	"$@" -Wall -Wextra -Werror -O1 -o "$_output" "$_source"
}

if [ "$(uname -s)" = FreeBSD ]; then
	cc="cc"
	cc32="cc -m32"
else
	zig=$PWD/$ZIG_DIR/ziglang/zig
	export ZIG_GLOBAL_CACHE_DIR="$PWD/target/zig-cache"
	export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
	cc="$zig cc -target x86_64-freebsd.14.2"
	cc32="$zig cc -target x86-freestanding-none"
fi
for source in "$progs"/*.c; do
	compile "$source" "$guest/bin/$(basename "$source" .c)" $cc -std=c11 -D__BSD_VISIBLE=1 -lpthread
done
for source in "$progs32"/*.c; do
	compile "$source" "$guest/bin/$(basename "$source" .c)" \
	    $cc32 -std=c11 -ffreestanding -nostdlib -static
done

# What a refused load looks like: the module built for another release, and under another
# name, to find the entries redirected already. And one that has a thread inside a function that
# is redirected.
sh scripts/module.sh -f test-other-release -o "$guest/ktrace_rs_other.ko"
sh scripts/module.sh -f test-other-name -o "$guest/ktrace_rs_twin.ko"
sh scripts/module.sh -f test-park -o "$guest/ktrace_rs_park.ko"

sh scripts/userland.sh "$guest/bin"

rm -rf "$guest/tests" "$guest/bench" "$guest/atf"
cp -R tests/vm/guest/tests "$guest/tests"
cp -R tests/vm/guest/bench "$guest/bench"
cp -R tests/atf "$guest/atf"
cp share/man/man4/ktrace_rs.4 "$guest"
