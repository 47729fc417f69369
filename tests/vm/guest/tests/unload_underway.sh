#!/bin/sh
# The stock backend does not come back under a thread that has seen that its process is traced, and
# has not got to its call yet: a test build of the module has one there, which gets no time to go on
# while tracing ends. The unload gives up, and gets through when the thread has gone on.
# timeout: 240
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

at_exit "kldunload -f ktrace_rs_park 2>/dev/null"
kldload "$KT/ktrace_rs_park.ko" || fail "load: $(dmesg | tail -1)"
parked=$(ps -ax -o pid= -o comm= | awk '$2 == "ktrace_rs_park" { print $1 }')
ktrace -t c -f out -p "$parked" || fail "ktrace: status $?"

# All CPUs are taken by who comes before any other process, but not before this one.
rtprio 10 -$$ || fail "rtprio: status $?"
for cpu in $(jot "$(sysctl -n hw.ncpu)" 0); do
	spawn rtprio 31 cpuset -l "$cpu" sh -c 'while :; do :; done'
	hogs="${hogs-} $spawned"
done
# Should the unload wait for it, too, the thread gets on some time.
{ sleep 90; kill $hogs; } 2>/dev/null &
at_exit "kill $! 2>/dev/null"
sleep 1
quiet
! kldunload -f ktrace_rs_park || fail "it unloads"
logged "cannot unload: threads are inside the module; try again later" || fail "no message"
is_not_traced "$parked" || fail "still traced"
kill $hogs
sleep 1
kldunload -f ktrace_rs_park || fail "unload: status $?"
! logged "between look and call" || fail "the stock backend came back under the thread"
rtprio -t -$$
ktrace -t c -f out true
check_ge "$(records out ^SYSCALL)" 3 "records of the stock backend after"
