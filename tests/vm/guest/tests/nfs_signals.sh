#!/bin/sh
# Shows that a signal which interrupts a write to NFS neither ends a trace nor loses a record.
#
# The mount is interruptible (mount_nfs(8), intr). Again and again, the server does not answer while
# two processes that trace to one file get signals. Under the stock backend, this ends the trace.
# timeout: 240
# full timeout: 1800
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
need_module
nfs intr

# pace_on FILE MADE: starts a process that makes records in FILE until it gets a SIGUSR2.
pace_on() {
	spawn ktrace -a -t +w -f "$1" "$KT_BIN/pace" "$2" >/dev/null
	wait_for 20 has "$1" "^USER pid=$spawned "
}

# interrupt ROUNDS PID...: sends the processes signals while the server does not answer. A trace file
# keeps up to a megabyte of interrupted batches, and each signal may interrupt one of 64 KiB.
interrupt() {
	_rounds=$1
	shift
	for _round in $(jot "$_rounds"); do
		pkill -STOP nfsd
		for _signal in $(jot 5); do
			kill -HUP "$@"
			sleep 0.1
		done
		pkill -CONT nfsd
		sleep 0.5
	done
}

note "the stock backend"
quiet
pace_on client/stock made.stock
for round in 1 2 3 4 5; do
	interrupt 1 "$spawned"
	! logged 'ktrace write failed, errno (4|-1), tracing stopped' || break
done
logged 'ktrace write failed, errno (4|-1), tracing stopped' || fail "no signal has interrupted a write"
kill "$spawned"

module_load
quiet
at_exit "sysctl -q kern.ktrace_rs.policy=batch"
for policy in record return batch; do
	note "$policy"
	sysctl -q kern.ktrace_rs.policy=$policy || fail "sysctl"
	pace_on client/$policy made.1
	one=$spawned
	pace_on client/$policy made.2
	two=$spawned
	interrupt "$(scaled 3 50)" "$one" "$two"
	kill -USR2 "$one" "$two"
	wait "$one" || fail "pace: status $?"
	wait "$two" || fail "pace: status $?"
	wait_for 10 idle
	cat made.1 made.2 >made
	"$KT_BIN/ktr_audit" -m made client/$policy >audit.out || fail "$policy: $(cat audit.out)"
	tail -n 1 audit.out
done
! logged 'ktrace_rs: ' || fail "a message: $(dmesg)"
module_unload
