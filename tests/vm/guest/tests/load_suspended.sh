#!/bin/sh
# Shows that a load is refused while a thread is inside the stock backend, even if no process is
# traced any more.
#
# The thread waits for a suspended file system to write its record. The load fails with EBUSY after
# some seconds and changes nothing. Once the thread has left, the module loads and works.
# timeout: 120
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
need_module

memory_disk 16
ufs "/dev/$disk" disk
ktrace -t cs -f disk/out "$KT_BIN/steady" -p 1000 >said &
pid=$!
at_exit "kill $pid 2>/dev/null"
begun disk/out $pid
suspend disk
wait_for 60 waits_for_resume $pid
untrace $pid
check_eq "$(ps -axo ktrace= | grep -cv '^ *0$')" 0 "processes traced"

quiet
check_fails 'Device busy|error occurred while loading' kldload "$KT_MODULE"
logged 'ktrace_rs: cannot take over: threads are inside the stock backend; try again later$' ||
    fail "not in the message"
logged 'MOD_LOAD .*ktrace_rs.* error 16$' || fail "not EBUSY"
! module_is_loaded || fail "it is loaded"
! sysctl -n kern.ktrace_rs.version 2>/dev/null || fail "its sysctls are there"
check_ok waits_for_resume $pid
kill -USR1 $pid

resume
no_longer_waits() {
	! waits_for_resume "$1"
}
wait_for 60 no_longer_waits $pid
# The stock backend works as before.
check_ge "$(records disk/out "^SYSCALL pid=$pid .* code=39 ")" 1 "records of the stock backend"
ktrace -t cu -f stock.out "$KT_BIN/tick" 3
check_eq "$(records stock.out '^USER ')" 3 "records of the stock backend"
kldload "$KT_MODULE" || fail "kldload: status $?"
module_announce
ktrace -t cs -f disk/module.out -p $pid
begun disk/module.out $pid
kill -HUP $pid
wait $pid || fail "the program: status $?"
check_has said '^calls [0-9]+ signals 2$'
check_eq "$(records disk/module.out "^PSIG pid=$pid .* signo=1 ")" 1 "records of SIGHUP"
wait_for 10 idle
module_unload
