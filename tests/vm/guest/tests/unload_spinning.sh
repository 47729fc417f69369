#!/bin/sh
# Shows that an unload does not wait for threads that only run.
#
# These are a real-time loop, which leaves no time for others on its CPU, and 1,500 spinning
# threads. All of them belong to processes that were traced once.
# timeout: 300
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

# unload: unloads the module, and sets $took to its time in hundredths of a second.
#
# A real-time thread does not wait for its turn among the spinning threads.
unload() {
	time -p rtprio 31 kldunload ktrace_rs 2>time.out || fail "kldunload: $(cat time.out) $(dmesg | tail -1)"
	took=$(awk '$1 == "real" { print int(100 * $2) }' time.out)
	note "unload: $took hundredths of a second, $1"
}

# traced_once PID: traces a process until tracing ends for all.
#
# It leaves out context switches. 1,500 threads would write theirs, each when its turn comes.
traced_once() {
	ktrace -t c -f out -p "$1" || fail "ktrace: status $?"
	check_ok is_traced "$1"
	ktrace -C
	check_ok is_not_traced "$1"
}

module_load
ktrace -t c -f out true || fail "ktrace: status $?"
unload "nothing runs"
limit=$((took + 100))

cpus=$(sysctl -n hw.ncpu)
if [ "$cpus" -ge 2 ]; then
	module_load
	# If the unload does wait for the loop, the loop ends after a while.
	spawn limits -t 60 rtprio 5 cpuset -l $((cpus - 1)) sh -c 'while :; do :; done'
	loop=$spawned
	wait_for 30 runs sh "$loop"
	traced_once "$loop"
	unload "beside a real-time loop"
	check_le "$took" "$limit" "hundredths of a second"
	check_ok kill -0 "$loop"
	kill "$loop"
else
	without "a real-time loop: one CPU"
fi

module_load
# From here on this shell and its programs run before the spinning threads. Each would have to wait
# for its turn otherwise, for minutes on a busy host.
rtprio 31 -$$ || fail "rtprio: status $?"
spawn rtprio -t "$KT_BIN/spin" 1500 ready
spinning=$spawned
wait_for 100 [ -e ready ]
traced_once "$spinning"
unload "beside 1,500 spinning threads"
check_le "$took" "$limit" "hundredths of a second"
check_ok kill -0 "$spinning"
kill -9 "$spinning"

ktrace -t c -f out true
check_ge "$(records out ^SYSCALL)" 3 "records of the stock backend after"
