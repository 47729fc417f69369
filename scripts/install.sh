#!/bin/sh
# install.sh build|install|uninstall|package: handles the module, ktrstat and ktrcheck, the manual
# pages, and the kyua suite. build builds all of them except the module.
#
# KERNEL, MACHINE     the target of the module; default the running system, or the first of TARGETS
# DESTDIR=DIR         put all files below DIR, and leave the running system alone
# PREFIX=DIR          directory of all files except the module; default /usr/local
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

command=$1
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
case $PREFIX in
/*) ;;
*) die "PREFIX=$PREFIX: not an absolute path" ;;
esac
if [ "$(uname -s)" != FreeBSD ] && [ -z "$DESTDIR" ] && [ "$command" != build ] && [ "$command" != package ]; then
	die "this is no FreeBSD: set DESTDIR"
fi
target
programs=$TARGET/guest/bin
pages=target/install
package=$TARGET/package
modules=$DESTDIR/boot/modules
suite=$PREFIX/tests/ktrace_rs
suite_programs="ktr_call ktr_raw setid_exec tick"

# Prints the installed files, below DESTDIR: mode, source, destination.
files() {
	echo "555 $TARGET/ktrace_rs.ko /boot/modules/ktrace_rs.ko"
	for page in share/man/man*/*; do
		echo "444 $pages/${page##*/}.gz $PREFIX/$page.gz"
	done
	for program in ktrstat ktrcheck; do
		echo "555 $programs/$program $PREFIX/bin/$program"
	done
	for file in tests/atf/*; do
		case $file in
		*_test) mode=555 ;;
		*) mode=444 ;;
		esac
		echo "$mode $file $suite/${file##*/}"
	done
	for program in $suite_programs; do
		echo "555 $programs/$program $suite/bin/$program"
	done
}

# The kernel's linker finds modules by these hints, or without hints by their files.
update_hints() {
	if [ -z "$DESTDIR" ] && have kldxref && [ -d "$modules" ]; then
		kldxref "$modules"
	fi
}

install_files() {
	mkdir -p "$pages"
	for page in share/man/man*/*; do
		gzip -cn "$page" >"$pages/${page##*/}.gz"
	done
	files | while read -r mode source destination; do
		mkdir -p "$DESTDIR${destination%/*}"
		install -m "$mode" "$source" "$DESTDIR$destination"
	done
}

# json NAME: prints standard input as a JSON string.
json() {
	awk -v name="$1" 'BEGIN { printf "\"%s\": \"", name }
	    { gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }
	    END { print "\"," }'
}

# port_says VARIABLE: prints the value of a variable in the port's Makefile.
port_says() {
	sed -n "s/^$1=[[:space:]]*//p" packaging/port/Makefile
}

# Prints the package's manifest.
#
# A package is for one major release, because the offsets in kernel structures and the abi are.
# pkg(8) also compares FreeBSD_version, and does not install the package on an older release. The
# version ends with it, as in other kernel modules, so that a package for the next release is an
# upgrade.
manifest() {
	kernel_headers
	case $MACHINE in
	amd64) abi=amd64 arch=x86:64 ;;
	arm64) abi=aarch64 arch=aarch64:64 ;;
	esac
	cat <<-END
	{
	"name": "ktrace_rs-kmod",
	"version": "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1).$OSRELDATE",
	"origin": "sysutils/ktrace_rs-kmod",
	"comment": "$(port_says COMMENT)",
	"categories": ["$(port_says CATEGORIES)"],
	"maintainer": "$(port_says MAINTAINER)",
	"www": "$(port_says WWW)",
	"abi": "FreeBSD:$((OSRELDATE / 100000)):$abi",
	"arch": "freebsd:$((OSRELDATE / 100000)):$arch",
	"prefix": "$PREFIX",
	"licenselogic": "single",
	"licenses": ["$(port_says LICENSE)"],
	"annotations": {"FreeBSD_version": "$OSRELDATE"},
	END
	json desc <packaging/port/pkg-descr
	cat <<-'END'
	"scripts": {
	    "post-install": "kldxref ${PKG_ROOTDIR}/boot/modules",
	    "post-deinstall": "kldxref ${PKG_ROOTDIR}/boot/modules"
	}
	}
	END
}

case $command in
build)
	sh scripts/userland.sh "$programs"
	sh scripts/progs.sh "$programs" $suite_programs
	;;
install)
	install_files
	update_hints
	;;
uninstall)
	files | while read -r _ _ destination; do
		rm -f "$DESTDIR$destination"
	done
	for directory in "$suite/bin" "$suite"; do
		[ ! -d "$DESTDIR$directory" ] || rmdir "$DESTDIR$directory" || true
	done
	update_hints
	;;
package)
	DESTDIR=$PWD/$package/root
	modules=$DESTDIR/boot/modules
	rm -rf "$package"
	install_files
	manifest >"$package/+MANIFEST"
	files | while read -r _ _ destination; do
		echo "$destination"
	done >"$package/plist"
	# pkg(7), of the same name, would ask whether to fetch the real program.
	if ! pkg -N >/dev/null 2>&1; then
		echo "no pkg(8) here: what pkg create needs is in $package"
		exit 0
	fi
	pkg create -M "$package/+MANIFEST" -p "$package/plist" -r "$DESTDIR" -o "$package"
	ls "$package"/*.pkg
	;;
*)
	exit 64
	;;
esac
