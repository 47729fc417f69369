#!/bin/sh
# Functions that another module has patched, here the same one under another name: refused, with one line that
# names one of them, and nothing changed.
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

twin=$KT/ktrace_rs_twin.ko
[ -f "$twin" ] || skip "no ktrace_rs_twin.ko given"
module_load
quiet
! kldload "$twin" || fail "it loads"
logged 'ktrace_rs: another tool .dtrace.. has patched .*, which begins with ' || fail "no message"
! kldstat -q -n ktrace_rs_twin.ko || fail "it is loaded"
ktrace -t c -f out true || fail "the first does not work"
check_ge "$(records out)" 4 "records"
check_ge "$(ktrace_rs_stat records)" "$(records out)" "kern.ktrace_rs.stats.records"
module_unload
ktrace -t c -f out true || fail "the stock backend does not work"
check_ge "$(records out)" 4 "records"
