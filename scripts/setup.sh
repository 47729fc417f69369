#!/bin/sh
# Installs what the build and the tests need and is not there yet, and says what.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

say() {
	echo "setup: $*"
}

# need COMMAND PACKAGE: remembers the package if the command is missing.
packages=
need() {
	tool "$1" >/dev/null || packages="$packages $2"
}

install_packages() {
	[ -n "$packages" ] || return 0
	say "installing$packages"
	if [ "$(uname -s)" = FreeBSD ]; then
		pkg install -y $packages
	else
		apt-get update -q >/dev/null
		DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >/dev/null
	fi
}

libclang() {
	for _library in /usr/lib/llvm-*/lib/libclang*.so* /usr/local/llvm*/lib/libclang.so*; do
		[ ! -e "$_library" ] || return 0
	done
	return 1
}

if [ "$(uname -s)" = FreeBSD ]; then
	need rustup rustup-init
	libclang || packages="$packages llvm"
else
	need clang clang
	need c++ g++
	need ld.lld lld
	need clang-format clang-format
	need bmake bmake
	need mandoc mandoc
	need python3 python3-pip
	need qemu-system-x86_64 qemu-system-x86
	need qemu-img qemu-utils
	need qemu-aarch64 qemu-user
	need xz xz-utils
	libclang || packages="$packages libclang-dev"
fi
install_packages

installed=$(rustup component list --installed; rustup target list --installed)
for component in rust-src clippy rustfmt; do
	case $installed in
	*"$component"*) ;;
	*)
		say "adding the Rust component $component"
		rustup component add "$component"
		;;
	esac
done
for target in x86_64-unknown-none x86_64-unknown-freebsd; do
	case $installed in
	*"$target"*) ;;
	*)
		say "adding the Rust target $target"
		rustup target add "$target"
		;;
	esac
done

# Rust for FreeBSD comes without Miri.
if [ "$(uname -s)" != FreeBSD ] &&
    ! rustup component list --installed --toolchain "$MIRI_TOOLCHAIN" 2>/dev/null | grep -q '^miri'; then
	say "adding the Rust toolchain $MIRI_TOOLCHAIN, which has Miri"
	rustup toolchain install "$MIRI_TOOLCHAIN" --profile minimal --component miri,rust-src
fi

# FreeBSD has both.
versions="$ZIGLANG_14 $ZIGLANG_15"
[ "$(uname -s)" != FreeBSD ] || versions=
for version in $versions; do
	zig=target/ziglang-$version
	if [ ! -d "$zig" ]; then
		say "unpacking FreeBSD headers and zig cc from the PyPI package ziglang $version"
		rm -rf target/wheel "$zig.new"
		python3 -m pip download -q --no-deps --only-binary=:all: --dest target/wheel "ziglang==$version"
		python3 -m zipfile -e target/wheel/*.whl "$zig.new"
		chmod +x "$zig.new/ziglang/zig"
		mv "$zig.new" "$zig"
		rm -rf target/wheel
	fi
done
