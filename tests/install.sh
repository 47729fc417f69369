#!/bin/sh
# make install, uninstall and package, below a directory of their own, and the port, which installs the same.
set -eu
cd "$(dirname "$0")/.."

. scripts/env.sh
target

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
list() {
	(cd "$root" && find . -type f | sort)
}

# The files that the port lists, and the programs of the suite can be executed.
DESTDIR=$root PREFIX=/opt/ktrace sh scripts/install.sh install
list >"$root.list"
trap 'rm -rf "$root" "$root.list"' EXIT
sed -e 's,^/%%KMODDIR%%/,./boot/modules/,' -e '/^\./!s,^,./opt/ktrace/,' packaging/port/pkg-plist | sort |
    diff - "$root.list" || fail "the port's pkg-plist lists other files"
for program in $(sed -n 's/.*name="\([^"]*\)".*/\1/p' tests/atf/Kyuafile); do
	[ -x "$root/opt/ktrace/tests/ktrace_rs/$program" ] || fail "$program cannot be executed"
done
cmp "$TARGET/ktrace_rs.ko" "$root/boot/modules/ktrace_rs.ko"
if [ "$(uname -s)" = FreeBSD ]; then
	for program in ktrstat ktrcheck; do
		! grep -q /libexec/ld-elf "$root/opt/ktrace/bin/$program" || fail "$program is not static"
	done
fi
for page in share/man/man*/*; do
	gzip -dc "$root/opt/ktrace/$page.gz" | cmp - "$page"
done
DESTDIR=$root PREFIX=/opt/ktrace sh scripts/install.sh uninstall
[ -z "$(list)" ] || fail "uninstall leaves files: $(list)"
! PREFIX=relative DESTDIR=$root sh scripts/install.sh install 2>/dev/null || fail "a relative PREFIX is accepted"

# What pkg create is given: a manifest for this release, and a list of files that are all there.
sh scripts/install.sh package >/dev/null
python3 - "$TARGET/package/+MANIFEST" "$KERNEL-$MACHINE" <<'END' || fail "the manifest"
import json, re, sys
manifest = json.load(open(sys.argv[1]))
release, machine = sys.argv[2].split("-")
target = int(manifest["annotations"]["FreeBSD_version"])
assert target // 100000 == int(release), target
abi, arch = {"amd64": ("amd64", "x86:64"), "arm64": ("aarch64", "aarch64:64")}[machine]
assert manifest["abi"] == f"FreeBSD:{release}:{abi}", manifest["abi"]
assert manifest["arch"] == f"freebsd:{release}:{arch}", manifest["arch"]
version = re.search('^version = "(.*)"', open("Cargo.toml").read(), re.M).group(1)
assert manifest["version"] == f"{version}.{target}" and manifest["desc"].count("\n") > 3
port = dict(re.findall("^([A-Z_]+)=\t+(.*)", open("packaging/port/Makefile").read(), re.M))
assert port["DISTVERSION"] == version, port["DISTVERSION"]
# What porters ask of a COMMENT: up to 70 characters, a capital letter, no article, no full stop.
comment = manifest["comment"]
assert re.fullmatch("(?!An? |The )[A-Z].{,68}[^.]", comment) and comment == port["COMMENT"], comment
assert [manifest["www"], manifest["maintainer"]] == [port["WWW"], port["MAINTAINER"]]
assert manifest["categories"] + manifest["licenses"] == [port["CATEGORIES"], port["LICENSE"]]
END
while read -r file; do
	[ -f "$TARGET/package/root$file" ] || fail "$file of the list is not there"
done <"$TARGET/package/plist"

# What the port has cargo fetch is what Cargo.lock names, and the standard library's.
python3 - <<'END' || fail "the port's crates are others: run scripts/crates.sh"
import re
lock = dict(
    (f"{name}-{version}", checksum)
    for name, version, checksum in re.findall(
        'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"', open("Cargo.lock").read()))
first, _, _ = open("packaging/port/Makefile.crates").read().partition("\n\n")
assert first.split()[1::2] == sorted(lock)
sums = dict(re.findall(r"SHA256 \(rust/crates/(.*)\.crate\) = (.*)", open("packaging/port/distinfo").read()))
assert lock.items() <= sums.items()
END
