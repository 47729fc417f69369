#!/bin/sh
# Shows that an unload with traced processes fails with EBUSY, prints their pids, and tracing
# continues.
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
pace out -s
quiet
check_fails 'Device busy' kldunload ktrace_rs
module_is_loaded || fail "it is gone"
logged "ktrace_rs.*[^0-9]$pace([^0-9]|\$)" || fail "pid $pace is not in the message"
check_ok grows out
# New traces work too.
ktrace -t c -f new.out true || fail "ktrace does not work"
check_ge "$(records new.out)" 4 "records"
pace_whole
wait_for 5 idle
module_unload
