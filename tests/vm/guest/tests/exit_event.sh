#!/bin/sh
# Shows that an exiting process writes its records before it closes its files.
#
# The close may take long: here a socket lingers. The latency is longer, so the helper does not
# write for the process meanwhile.
# timeout: 90
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
ifconfig lo0 inet 127.0.0.1 up || fail "ifconfig: status $?"
module_load
at_exit "sysctl -q kern.ktrace_rs.latency=$(sysctl -n kern.ktrace_rs.latency)"
sysctl -q kern.ktrace_rs.latency=10000 kern.ktrace_rs.policy=batch || fail "sysctl"

at_exit "pkill linger"
spawn ktrace -t c -f out "$KT_BIN/linger" 60
lingers() {
	[ "$(ps -o wchan= -p "$spawned")" = soclos ]
}
wait_for 20 lingers
check_eq "$(records out "^SYSCALL pid=$spawned .* code=1 ")" 1 "exit(2) in the file"
check_ok lingers
pkill linger
wait "$spawned"
check_eq "$(records out "^SYSCALL pid=$spawned .* code=1 ")" 1 "exit(2) in the file at last"
wait_for 10 idle
module_unload
