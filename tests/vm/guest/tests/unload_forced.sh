#!/bin/sh
# Shows that a forced unload with traced processes stops all tracing and loses no record.
#
# Some processes sleep in the kernel with queued records. All processes continue untraced, and the
# stock backend works again.
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
# Keep the helper from writing for them before.
sysctl kern.ktrace_rs.latency=10000
for i in 1 2 3 4 5; do
	spawn ktrace -t cw -f "sleep$i.out" "$KT_BIN/in_poll"
	eval "sleeper$i=$spawned"
done
pace pace.out -s
spawn ktrace -i -t c -f crowd.out "$KT_BIN/crowd" call 4 1000000
crowd=$spawned
for i in 1 2 3 4 5; do
	eval "wait_for 20 polls \$sleeper$i"
done
wait_for 20 test -s crowd.out
quiet
pace_asked
kldunload -f ktrace_rs || fail "kldunload -f: status $?"
! module_is_loaded || fail "still loaded"
! logged "leaked memory" || fail "memory left"
! sysctl -n kern.ktrace_rs.version 2>/dev/null || fail "its sysctls are still there"
for i in 1 2 3 4 5; do
	eval "pid=\$sleeper$i"
	! is_traced "$pid" || fail "$pid is still traced"
	kill -0 "$pid" || fail "$pid is gone"
	check_eq "$(records "sleep$i.out" "^CSW pid=$pid .* drop=0 out=1 user=0 wmesg=select")" 1 "what $pid sleeps in"
	check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" CSW "last record of $pid"
done
check_ok rests pace.out
pace_has "$steps"
kill -0 "$pace" || fail "pace is gone"
raw -q crowd.out
kill "$crowd"
# Trace the same processes with the stock backend.
ktrace -t u -f stock.out -p "$pace"
check_ok grows stock.out
untrace "$pace"
# Load the module again.
module_load
ktrace -t u -f again.out -p "$pace"
check_ok grows again.out
untrace "$pace"
module_unload
