#!/bin/sh
# Runs the project's own ATF suite (tests/atf): ktrace(2), utrace(2), ktrace(1), and bad input.
# timeout: 240
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"

[ -x /usr/bin/kyua ] || skip "the image has no kyua"
[ -x /usr/libexec/atf-sh ] || skip "the image has no atf-sh"
module_load
# Copy the programs, because other users must be able to execute them too.
cp -R "$KT_ATF" atf && cp -R "$KT_BIN" bin && chmod -R a+rX . && chmod a+rx atf/*_test bin/*
backend=module
! is_stock || backend=stock
status=0
kyua -v parallelism=2 -v test_suites.ktrace_rs.bin="$PWD/bin" -v test_suites.ktrace_rs.backend=$backend \
    test -k "$PWD/atf/Kyuafile" -r "$PWD/results.db" >log || status=$?
cat log
[ "$status" = 0 ] || kyua report --verbose --results-filter=broken,failed -r "$PWD/results.db"
check_eq "$status" 0 "status of kyua"
sed -n 's/  ->  skipped: / /p' log >skipped
while read -r case; do
	without "$case"
done <skipped
wait_for 5 idle
