#!/bin/sh
# Shows that the module has no more memory after tracing has ended than before it began, while the
# processes live on.
#
# Some of them make records, some sleep, and one forks. Tracing ends for all at once, for each by
# itself, and for the file.
# timeout: 180
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load

# used: prints the number of kernel memory allocations that the module has, and their size as
# vmstat(8) rounds it.
used() {
	vmstat -m | awk '$1 == "ktrace_rs" { print $2, $3 }'
}
is_back() {
	[ "$(used)" = "$before" ]
}
# within_a_second: fails unless the memory is back then, or after two seconds on a kernel with
# WITNESS. All processes must still be there.
within_a_second() {
	_tenths=10
	! is_witness || _tenths=20
	for _tenth in $(jot $_tenths); do
		! is_back || break
		sleep 0.1
	done
	check_eq "$(used)" "$before" "allocations and their size after tracing"
	check_ok idle
	for pid in $pids; do
		kill -0 "$pid" || fail "pid $pid is gone"
	done
}
trace_all() {
	for pid in $pids; do
		ktrace -a -i -t +w -f out -p "$pid" || fail "ktrace: status $?"
	done
	check_ok grows out
	note "while traced: $(used)"
	! is_back || fail "tracing needs no memory"
}

pids=
for i in 1 2; do
	spawn_tick
	pids="$pids $spawned"
	spawn sleep 1000
	pids="$pids $spawned"
	wait_for 10 sleeps "$spawned"
done
spawn sh -c 'while :; do /usr/bin/true; done'
pids="$pids $spawned"
before=$(used)
note "before: $before"

note "all processes at once"
trace_all
ktrace -C
within_a_second

note "each process by itself"
trace_all
for pid in $pids; do
	# This leaves PROCCTOR and PROCDTOR on, and so the trace.
	ktrace -c -p "$pid" || fail "ktrace -c: status $?"
	check_ok is_traced "$pid"
done
for pid in $pids; do
	untrace "$pid"
done
# A child may have inherited the trace.
ktrace -C
within_a_second

note "the file"
trace_all
ktrace -c -f out || fail "ktrace -c: status $?"
within_a_second

note "traced again right away"
for i in $(jot 10); do
	ktrace -a -t cw -f again.out -p "${pids##* }" || fail "ktrace: status $?"
	ktrace -C
done
within_a_second
records again.out

module_unload
check_eq "$(used)" "" "memory after the unload"
