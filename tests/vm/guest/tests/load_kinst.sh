#!/bin/sh
# kinst of dtrace(1) is loaded, and could put a probe where a jump is to stand: refused, with one line that says what to
# do; and loaded after the module it does no harm.
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

! kldstat -q -m kinst || skip "kinst is loaded already"
kldload kinst 2>/dev/null || skip "no kinst"
at_exit "module_unload; kldunload kinst 2>/dev/null"
quiet
! kldload "$KT_MODULE" || fail "it loads beside kinst"
logged 'ktrace_rs: kinst of dtrace is loaded, .* kldunload kinst, load this first, and kinst then' || fail "no message"
check_ok kldunload kinst
module_load
check_ok kldload kinst
trace_works
module_unload
trace_works
