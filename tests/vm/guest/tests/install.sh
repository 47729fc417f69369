#!/bin/sh
# Shows that make install, make package and make uninstall work on the running system.
#
# The module is found by its name, programs and suite run from their installed places, and an
# uninstall leaves nothing.
# timeout: 240
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
installed=/boot/modules/ktrace_rs.ko
[ ! -e "$installed" ] || skip "$installed is there already"

# Build the tree of a checkout after make build.
cp -R "$KT/tree" tree
target=tree/target/$(($(uname -U) / 100000))-$(uname -m)
mkdir -p "$target/guest" tree/tests
cp "$KT_MODULE" "$target/ktrace_rs.ko"
ln -s "$KT_BIN" "$target/guest/bin"
ln -s "$KT_ATF" tree/tests/atf
install_sh() {
	(cd tree && sh scripts/install.sh "$1")
}
# there: lists installed files, except the linker's hints, which kldxref(8) maintains.
there() {
	find /boot/modules /usr/local -type f ! -name linker.hints 2>/dev/null | sort
}
there >before

note "install"
at_exit 'install_sh uninstall'
install_sh install || fail "install: status $?"
check_ok cmp "$KT_MODULE" "$installed"
check_ok grep -q ktrace_rs /boot/modules/linker.hints
load_installed
# Run one case of each program. atf.sh runs all of them.
if command -v kyua >/dev/null; then
	kyua test -k /usr/local/tests/ktrace_rs/Kyuafile bad_input_test:facs ktrace_call_test:exec \
	    ktrace_command_test:append || fail "kyua: status $?"
else
	without "kyua(1)"
fi
module_unload

note "package"
# /usr/sbin/pkg only fetches the real program.
if [ -x /usr/local/sbin/pkg ] && [ -f /usr/include/sys/param.h ]; then
	(PATH=/usr/local/sbin:$PATH install_sh package) || fail "package: status $?"
	/usr/local/sbin/pkg info -R -F "$target"/package/*.pkg >manifest || fail "pkg info: status $?"
	check_has manifest '^name *: *"?ktrace_rs-kmod'
else
	without "make package: pkg(8) or /usr/include is missing"
fi

note "uninstall"
install_sh uninstall || fail "uninstall: status $?"
there | diff before - || fail "something is left"
check_fails "can't load ktrace_rs" kldload ktrace_rs
