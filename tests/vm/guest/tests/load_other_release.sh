#!/bin/sh
# Shows that a module for another major release is refused with one line that says so, without any
# change.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

other=$KT/ktrace_rs_other.ko
[ -f "$other" ] || skip "no ktrace_rs_other.ko given"
quiet
! kldload "$other" || fail "it loads"
logged 'ktrace_rs: built for FreeBSD [0-9]+.*, but this is FreeBSD [0-9]+' || fail "no message"
logged 'MOD_LOAD .*ktrace_rs.* error 8$' || fail "not ENOEXEC"
! kldstat -q -n ktrace_rs_other.ko || fail "it is loaded"
! sysctl -n kern.ktrace_rs.version 2>/dev/null || fail "its sysctls are there"
ktrace -t c -f out true || fail "the stock backend does not work"
check_ge "$(records out)" 4 "records"
module_load
ktrace -t c -f out true || fail "the right module does not work"
check_ge "$(records out)" 4 "records"
module_unload
