#!/bin/sh
# Shows that the package can be created, added and deleted with pkg(8).
#
# pkg(8) adds it only on the right release. The module loads from its installed place, and nothing
# is left after a delete.
# timeout: 240
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
# /usr/sbin/pkg only fetches the real program.
[ -x /usr/local/sbin/pkg ] || skip "the image has no pkg(8)"
pkg() {
	/usr/local/sbin/pkg "$@"
}
package=$KT/package
name=ktrace_rs-kmod
installed=/boot/modules/ktrace_rs.ko
target=$(sed -n 's/.*"FreeBSD_version": "\([0-9]*\)".*/\1/p' "$package/+MANIFEST")
[ "$(uname -U)" -ge "$target" ] || skip "the package is for a later release, $target"
[ ! -e "$installed" ] || skip "$installed is there already"

# create MANIFEST: creates the only package in the current directory.
create() {
	rm -f ./*.pkg
	pkg create -M "$1" -p "$package/plist" -r "$package/root" -o . || fail "pkg create: status $?"
}

note "other releases"
sed 's/"abi": "FreeBSD:[0-9]*:/"abi": "FreeBSD:9:/' "$package/+MANIFEST" >other
create other
check_fails 'wrong architecture: FreeBSD:9:' pkg add ./*.pkg
sed 's/"FreeBSD_version": "[0-9]*"/"FreeBSD_version": "9900000"/' "$package/+MANIFEST" >other
create other
check_fails 'Newer FreeBSD version for package ktrace_rs-kmod' pkg add ./*.pkg
[ ! -e "$installed" ] || fail "a package that was refused has left $installed"

note "this one"
create "$package/+MANIFEST"
pkg info -R --raw-format json-compact -F ./*.pkg >manifest || fail "pkg info: status $?"
cat manifest
check_has manifest "\"FreeBSD_version\":\"$target\""
at_exit "pkg delete -qy $name"
pkg add ./*.pkg || fail "pkg add: status $?"
pkg check -s $name || fail "pkg check: status $?"
pkg info -ql $name | sort >listed
sort "$package/plist" | diff - listed || fail "other files than the list has"
check_ok cmp "$package/root$installed" "$installed"
check_ok grep -q ktrace_rs /boot/modules/linker.hints

note "what is in it"
load_installed
module_unload

note "no more"
pkg delete -y $name || fail "pkg delete: status $?"
while read -r file; do
	[ ! -e "$file" ] || fail "$file is still there"
done <listed
