#!/bin/sh
# Shows that a process may write to and read its own trace file, trace itself, and unload the
# module.
#
# It also traces itself tracing, and reads the file while that is being written.
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
SYS_write=4 SYS_ktrace=45 SYS_kldunload=305

note "writes to its own trace file"
times=200
: >own.out
"$KT_BIN/own_file" own.out $times || fail "own_file: status $?"
check_eq "$(records own.out '^USER .*data=own')" $times "its own records"
check_eq "$(records own.out "^SYSCALL .* code=$SYS_write ")" $times "calls of write"
check_eq "$(records own.out "^SYSRET .* code=$SYS_write error=0")" $times "returns of write"
check_eq "$(records own.out '^GENIO ')" $times "what it wrote"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record"
check_eq "$(grep -c ' drop=1' raw.out)" 0 "drops"

note "traces itself"
sh -c 'ktrace -t+w -f self.out -p $$; true; ls / >/dev/null; ktrace -c -f self.out -p $$' || fail "status $?"
check_ge "$(records self.out '^SYSCALL ')" 10 "calls"
ktrace -t+w -f outer.out ktrace -t+ -f inner.out /usr/bin/true || fail "ktrace of ktrace: status $?"
check_eq "$(records outer.out "^SYSCALL .* code=$SYS_ktrace ")" 1 "ktrace(2) in the outer trace"
check_eq "$(records inner.out "^SYSRET .* code=$SYS_ktrace error=0")" 1 "its return in the inner one"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record of the inner one"
is_stock || wait_for 5 idle

note "reads its own trace"
lines() {
	[ "$(wc -l <"$1")" -ge "$2" ]
}
spawn ktrace -t cu -f live.out "$KT_BIN/tick"
tick=$spawned
wait_for 10 test -s live.out
spawn kdump -l -f live.out >live.txt
kdump=$spawned
wait_for 30 lines live.txt 100
kill "$kdump"
untrace "$tick"
: >snake.out
spawn ktrace -t cn -f snake.out kdump -l -f snake.out >snake.txt
snake=$spawned
wait_for 30 lines snake.txt 200
kill "$snake"
wait "$snake"
raw -q snake.out

is_stock && exit
note "unloads the module"
spawn ktrace -t cuw -f tick.out "$KT_BIN/tick"
tick=$spawned
wait_for 10 test -s tick.out
ktrace -i -t+ -f unload.out kldunload -f ktrace_rs || fail "kldunload -f: status $?"
! module_is_loaded || fail "still loaded"
check_eq "$(records unload.out "^SYSCALL .* code=444 ")$(records unload.out "^SYSCALL .* code=$SYS_kldunload ")" 10 "kldunloadf(2) in the trace"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" SYSCALL "last record"
raw -q tick.out
check_ok rests tick.out
kill -0 "$tick" || fail "tick is gone"
check_eq "$(in_use)" 0 "pieces of memory in use"
