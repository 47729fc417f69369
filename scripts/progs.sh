#!/bin/sh
# progs.sh DIRECTORY [NAME...]: builds all or the named C programs of the tests, for FreeBSD on
# MACHINE, into DIRECTORY. They run on each release from 14.2 on.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

target
directory=$1
shift
progs=tests/vm/guest/progs
progs32=tests/vm/guest/progs32
mkdir -p "$directory"

# compile SOURCE COMMAND...: runs the compiler if the source or a header beside it is newer.
compile() {
	_source=$1
	_output=$directory/$(basename "$1" .c)
	shift
	if [ -f "$_output" ] && [ -z "$(find "$(dirname "$_source")" -newer "$_output" \
	    \( -name '*.h' -o -path "$_source" \))" ]; then
		return 0
	fi
	# Make this program position independent, so that its address is chosen when it is executed.
	case $_source in */setid_layout.c) set -- "$@" -fPIE -pie ;; esac
	"$@" -Wall -Wextra -Werror -O1 -o "$_output" "$_source"
}

if [ "$(uname -s)" = FreeBSD ]; then
	cc=${CC:-cc}
	cc32="$cc -m32"
else
	zig=$PWD/$ZIG_DIR/ziglang/zig
	export ZIG_GLOBAL_CACHE_DIR="$PWD/target/zig-cache"
	export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
	case $MACHINE in
	amd64) cc="$zig cc -target x86_64-freebsd.14.2" ;;
	arm64) cc="$zig cc -target aarch64-freebsd.14.2" ;;
	esac
	cc32="$zig cc -target x86-freestanding-none"
fi
cc="$cc -std=c11 -D__BSD_VISIBLE=1 -lpthread"

if [ $# -gt 0 ]; then
	for name do
		compile "$progs/$name.c" $cc
	done
	exit
fi
for source in "$progs"/*.c; do
	basename "$source" .c
done | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh scripts/progs.sh "$directory"
[ "$MACHINE" = amd64 ] || exit 0
for source in "$progs32"/*.c; do
	compile "$source" $cc32 -std=c11 -ffreestanding -nostdlib -static
done
