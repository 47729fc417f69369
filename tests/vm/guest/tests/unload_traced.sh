#!/bin/sh
# Shows that an unload with traced processes fails with EBUSY, prints their pids, and tracing
# continues.
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
spawn_tick
ktrace -t u -f out -p "$spawned"
quiet
check_fails 'Device busy' kldunload ktrace_rs
module_is_loaded || fail "it is gone"
logged "ktrace_rs.*[^0-9]$spawned([^0-9]|\$)" || fail "pid $spawned is not in the message"
check_ok grows out
# New traces work too.
ktrace -t c -f new.out true || fail "ktrace does not work"
check_ge "$(records new.out)" 4 "records"
untrace "$spawned"
check_ok idle
module_unload
check_eq "$(records out ' drop=1')" 0 "drops"
