#!/bin/sh
# Shows that the module refuses to load after kinst of dtrace(1), with one line that names the
# remedy.
#
# kinst could put a probe where the module puts a jump. Loaded after the module, it does no harm.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

! kldstat -q -m kinst || skip "kinst is loaded already"
kldload kinst 2>/dev/null || skip "no kinst"
at_exit "module_unload; kldunload kinst 2>/dev/null"
quiet
! kldload "$KT_MODULE" || fail "it loads beside kinst"
logged 'ktrace_rs: kinst of dtrace is loaded, .* kldunload kinst, load this first, and kinst then' || fail "no message"
logged 'MOD_LOAD .*ktrace_rs.* error 16$' || fail "not EBUSY"
check_ok kldunload kinst
module_load
check_ok kldload kinst
trace_works
module_unload
trace_works
