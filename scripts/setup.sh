#!/bin/sh
# Installs missing packages and tools for the build and the tests, and lists them.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

say() {
	echo "setup: $*"
}

# need COMMAND PACKAGE: adds the package to the list if the command is missing.
packages= emulators=
need() {
	tool "$1" >/dev/null || packages="$packages $2"
}

# apt_install ARGUMENT...: runs apt-get so that it removes no package.
apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove "$@"
}

install_packages() {
	[ -n "$packages$emulators" ] || return 0
	if [ "$(uname -s)" = FreeBSD ]; then
		say "installing$packages"
		pkg install -y $packages
		return 0
	fi
	apt-get update -q >/dev/null
	if [ -n "$packages" ]; then
		say "installing$packages"
		apt_install $packages >/dev/null
	fi
	if [ -n "$emulators" ]; then
		if apt_install --simulate $emulators >/dev/null 2>&1; then
			say "installing$emulators"
			apt_install $emulators >/dev/null
		else
			unpack_emulators
		fi
	fi
}

# Unpacks the emulators into target/qemu if an installed package conflicts with them.
unpack_emulators() {
	say "unpacking$emulators into $QEMU_DIR: apt cannot install them without removing packages"
	# The emulators and each missing package that they need.
	_missing=$(DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --simulate $emulators \
	    2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
	_debs=$PWD/target/debs
	_new=$PWD/$QEMU_DIR.new
	rm -rf "$_debs" "$_new"
	mkdir -p "$_debs" "$_new/bin"
	(cd "$_debs" && apt-get download -q -o APT::Sandbox::User=root \
	    $(printf '%s\n' $emulators qemu-system-common qemu-system-data $_missing | sort -u)) >/dev/null
	for _deb in "$_debs"/*.deb; do
		dpkg -x "$_deb" "$_new"
	done
	rm -rf "$_debs" "$QEMU_DIR"
	cp "$_new/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" "$_new"
	for _program in qemu-system-x86_64 qemu-system-aarch64; do
		cat >"$_new/bin/$_program" <<-'END'
		#!/bin/sh
		root=$(cd "$(dirname "$0")/.." && pwd)
		for directory in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do
			LD_LIBRARY_PATH=$directory${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
			[ ! -d "$directory/qemu" ] || export QEMU_MODULE_DIR="$directory/qemu"
		done
		export LD_LIBRARY_PATH
		exec "$root/usr/bin/${0##*/}" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
		    -L "$root/usr/lib/ipxe/qemu" "$@"
		END
		chmod +x "$_new/bin/$_program"
		"$_new/bin/$_program" --version >/dev/null || die "$_program, as it was unpacked, does not run"
	done
	mv "$_new" "$QEMU_DIR"
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
	# The oldest and the newest compiler that scripts/standin.sh compilers tries.
	for _compiler in $COMPILERS; do
		need "$_compiler" "$_compiler"
	done
	need c++ g++
	need ld.lld lld
	need clang-format clang-format
	need bmake bmake
	need mandoc mandoc
	need python3 python3-pip
	# All or none, because unpacked emulators share one directory.
	if ! have qemu-system-x86_64 || ! have qemu-system-aarch64 ||
	    ! { [ -f /usr/share/qemu-efi-aarch64/QEMU_EFI.fd ] || [ -f "$QEMU_DIR/QEMU_EFI.fd" ]; }; then
		emulators=" qemu-system-x86 qemu-system-arm qemu-efi-aarch64"
	fi
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

# Rust for FreeBSD has no Miri.
if [ "$(uname -s)" != FreeBSD ] &&
    ! rustup component list --installed --toolchain "$MIRI_TOOLCHAIN" 2>/dev/null | grep -q '^miri'; then
	say "adding the Rust toolchain $MIRI_TOOLCHAIN, which has Miri"
	rustup toolchain install "$MIRI_TOOLCHAIN" --profile minimal --component miri,rust-src
fi

# FreeBSD has its own headers and compiler.
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
