#!/bin/sh
# Runs the ten cases of FreeBSD's own ktrace_test, unchanged.
# timeout: 180
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"

[ -x /usr/bin/kyua ] || skip "the image has no kyua"
[ -x /usr/tests/sys/kern/ktrace_test ] || skip "the image has no /usr/tests/sys/kern/ktrace_test"
module_load
status=0
kyua test -k /usr/tests/sys/kern/Kyuafile -r "$PWD/results.db" ktrace_test >log || status=$?
cat log
[ "$status" = 0 ] || kyua report --verbose -r "$PWD/results.db"
check_eq "$(tail -1 log)" "10/10 passed (0 broken, 0 failed, 0 skipped)"
wait_for 5 idle
