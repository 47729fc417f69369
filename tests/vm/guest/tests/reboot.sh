#!/bin/sh
# The system is rebooted while processes are traced that fork, execute, sleep, write and fault.
# That it goes down in order, and nothing is complained of, is for the runner to see.
# timeout: 120
# reboots
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

spawn ktrace -i -t+wf -f fork.out sh -c 'while :; do (/usr/bin/true); done'
spawn ktrace -i -t+wf -f write.out sh -c 'while :; do echo line; done >lines'
spawn ktrace -i -t+wf -f sleep.out "$KT_BIN/crowd" sleep 20 1000000
spawn ktrace -i -t+wf -f call.out "$KT_BIN/crowd" call 4 1000000000
for file in fork.out write.out sleep.out call.out; do
	wait_for 60 grows $file
done
is_stock || check_ge "$(ktrace_rs_stat procs)" 26 "traced processes"
exec reboot
