#!/bin/sh
# make install, uninstall and package, below a directory of their own.
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
list() {
	(cd "$root" && find . -type f | sort)
}

# As many files as it says, none elsewhere, and none but those that are to be executed may be.
DESTDIR=$root PREFIX=/opt/ktrace sh scripts/install.sh install
list >"$root.list"
trap 'rm -rf "$root" "$root.list"' EXIT
for file in boot/modules/ktrace_rs.ko opt/ktrace/share/man/man4/ktrace_rs.4.gz opt/ktrace/bin/ktrstat \
    opt/ktrace/bin/ktrcheck opt/ktrace/tests/ktrace_rs/Kyuafile opt/ktrace/tests/ktrace_rs/bin/tick; do
	grep -qx "./$file" "$root.list" || fail "$file is not installed"
done
[ -z "$(grep -v -e '^\./boot/modules/' -e '^\./opt/ktrace/' "$root.list")" ] || fail "files elsewhere"
for program in $(sed -n 's/.*name="\(.*\)".*/\1/p' tests/atf/Kyuafile); do
	[ -x "$root/opt/ktrace/tests/ktrace_rs/$program" ] || fail "$program cannot be executed"
done
cmp target/ktrace_rs.ko "$root/boot/modules/ktrace_rs.ko"
gzip -dc "$root/opt/ktrace/share/man/man4/ktrace_rs.4.gz" | cmp - share/man/man4/ktrace_rs.4
DESTDIR=$root PREFIX=/opt/ktrace sh scripts/install.sh uninstall
[ -z "$(list)" ] || fail "uninstall leaves files: $(list)"
! PREFIX=relative DESTDIR=$root sh scripts/install.sh install 2>/dev/null || fail "a relative PREFIX is accepted"

# What pkg create is given: a manifest for this release, and a list of files that are all there.
sh scripts/install.sh package >/dev/null
python3 - <<'END' || fail "the manifest"
import json, re
manifest = json.load(open("target/package/+MANIFEST"))
target = int(manifest["annotations"]["FreeBSD_version"])
assert manifest["abi"] == f"FreeBSD:{target // 100000}:amd64", manifest["abi"]
version = re.search('^version = "(.*)"', open("Cargo.toml").read(), re.M).group(1)
assert manifest["version"] == version and manifest["desc"].count("\n") > 3
END
while read -r file; do
	[ -f "target/package/root$file" ] || fail "$file of the list is not there"
done <target/package/plist
