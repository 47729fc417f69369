#!/bin/sh
# Shows that a load fails with EBUSY while the stock backend traces, and changes nothing.
#
# The message has the process ids.
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

spawn_tick
first=$spawned
spawn_tick
second=$spawned
ktrace -t u -f first.out -p "$first"
ktrace -t u -f second.out -p "$second"
quiet
# The linker turns every error of a module's MOD_LOAD into ENOEXEC. Its message has the errno, 16.
check_fails 'Device busy|error occurred while loading' kldload "$KT_MODULE"
logged 'MOD_LOAD .*ktrace_rs.* error 16$' || fail "not EBUSY"
! module_is_loaded || fail "it is loaded"
logged "ktrace_rs.*[^0-9]$first([^0-9]|\$)" || fail "pid $first is not in the message"
logged "ktrace_rs.*[^0-9]$second([^0-9]|\$)" || fail "pid $second is not in the message"
check_ok grows first.out
check_ok grows second.out
! sysctl -n kern.ktrace_rs.version 2>/dev/null || fail "its sysctls are there"

for i in $(jot 18); do
	spawn_tick
	ktrace -t u -f many.out -p "$spawned"
done
quiet
check_fails 'Device busy|error occurred while loading' kldload "$KT_MODULE"
logged 'ktrace_rs: cannot take over: pids ([0-9]+, ){15}[0-9]+ and 4 more are traced; ' || fail "not 16 of 20 are listed"

# Traced processes may fork, execute and exit meanwhile.
ktrace -i -t c -f churn.out sh -c 'while [ ! -e stop ]; do /usr/bin/true; done' &
for round in $(jot 20); do
	check_fails 'Device busy|error occurred while loading' kldload "$KT_MODULE"
done
: >stop
wait $! || fail "the traced shell: status $?"
ktrace -C
module_load
ktrace -t u -f first.out -p "$first"
check_ok grows first.out
ktrace -C
wait_for 5 idle
module_unload
