#!/bin/sh
# Shows that the module stays loaded while a process inside it waits for a suspended file system.
#
# The process waits there to write its record when its trace is ended. ktrace(2) waits for it. A
# forced unload waits for five seconds, and is refused then. After that everything continues, and
# every record is in the file.
# timeout: 120
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
need_module
module_load

memory_disk 16
ufs "/dev/$disk" disk

# waiting: starts a program, $pid, that waits with its record.
waiting() {
	ktrace -t csw -f disk/out "$KT_BIN/steady" -p 1000 >said &
	pid=$!
	at_exit "kill $pid 2>/dev/null"
	begun disk/out $pid
	suspend disk
	wait_for 60 waits_for_resume $pid
	kill -USR1 $pid
}
# went_on: checks that the program has lost nothing up to the end of its trace, and continues
# untraced.
went_on() {
	wait_for 60 is_not_traced $pid
	raw disk/out >raw.out
	grep -q ' drops 0 ' raw.err || fail "records marked KTR_DROP"
	# Each call has its return, except for a call in progress at the end.
	calls=$(grep -c "^SYSCALL pid=$pid .* code=39 " raw.out)
	returns=$(grep -c "^SYSRET pid=$pid .* code=39 " raw.out)
	check_ge "$calls" 1 "calls"
	check_le $((calls - returns)) 1 "calls without a return"
	kill -HUP $pid
	wait $pid || fail "the program: status $?"
	check_has said '^calls [0-9]+ signals 2$'
	check_ge "$(said said calls)" "$calls" "calls"
	! logged "records were lost|ktrace write failed" || fail "records were lost"
}
is_there() {
	sysctl -n kern.ktrace_rs.version >/dev/null
}

note "ktrace -C"
quiet
waiting
ktrace -C &
clear=$!
wait_for 60 is_not_traced $pid
check_ok waits_for_resume $pid
resume
wait $clear || fail "ktrace -C: status $?"
went_on
wait_for 10 idle

note "kldunload -f, and the file system is back too late"
quiet
waiting
kldunload -f ktrace_rs >unload.out 2>&1 &
unload=$!
wait_for 60 is_not_traced $pid
# An untraced process is not affected.
"$KT_BIN/steady" 1000 >other
check_has other '^calls 1000 signals 0$'
wait_for 60 has_ended $unload
! wait $unload || fail "the module is unloaded, with a thread inside"
check_has unload.out 'Device busy'
logged 'ktrace_rs: cannot unload: .*disk/out is not written yet' || fail "no message"
is_there || fail "the module is gone, with a thread inside"
waits_for_resume $pid || fail "the program does not wait any more"
resume
went_on
wait_for 10 idle

note "kldunload -f, and the file system is back in time"
quiet
waiting
kldunload -f ktrace_rs &
unload=$!
wait_for 60 is_not_traced $pid
is_there || fail "the module is gone, with a thread inside"
resume
wait $unload || fail "kldunload -f: status $?"
went_on
! module_is_loaded || fail "still loaded"
! logged "leaked memory" || fail "memory left"
# The stock backend works again, and then the module.
ktrace -t cu -f stock.out "$KT_BIN/tick" 3
check_eq "$(records stock.out '^USER ')" 3 "records of the stock backend"
module_load
ktrace -t cu -f module.out "$KT_BIN/tick" 3
check_eq "$(records module.out '^USER ')" 3 "records of the module"
module_unload
