#!/bin/sh
# Shows that functions which another module has patched are not patched again.
#
# The other module is a test build of the same one, under another name. The load is refused with one
# line that names one of the functions, and nothing changes.
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
quiet
! kldload "$KT/ktrace_rs_park.ko" || fail "it loads"
logged 'ktrace_rs: another tool .dtrace.. has patched .*, which begins with ' || fail "no message"
logged 'MOD_LOAD .*ktrace_rs.* error 16$' || fail "not EBUSY"
! kldstat -q -n ktrace_rs_park.ko || fail "it is loaded"
ktrace -t c -f out true || fail "the first does not work"
check_ge "$(records out)" 4 "records"
check_ge "$(ktrace_rs_stat records)" "$(records out)" "kern.ktrace_rs.stats.records"
module_unload
ktrace -t c -f out true || fail "the stock backend does not work"
check_ge "$(records out)" 4 "records"
