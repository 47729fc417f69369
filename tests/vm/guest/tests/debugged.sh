#!/bin/sh
# Shows that a debugger and the tracer on one process both see every system call undisturbed.
#
# A process held by a debugger or SIGSTOP does not prevent an unload of the module.
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
SYS_getppid=39 calls=50

# seen FILE: prints the number of calls and returns in FILE of the one process that makes them.
seen() {
	echo "$(records "$1" "^SYSCALL .* code=$SYS_getppid ") $(records "$1" "^SYSRET .* code=$SYS_getppid error=0")"
}

if ! is_stock; then
	note "the family of a process that its child debugs"
	# Each of the two is the parent of the other one then. The stock backend walks round for ever.
	mkfifo debugs
	spawn sh -c '"$KT_BIN/debug" hold $$ <debugs >debugs.out & wait'
	parent=$spawned
	exec 8>debugs
	wait_for 20 grep -q held debugs.out
	ktrace -d -t c -f family.out -p "$parent" || fail "ktrace -d: status $?"
	check_eq "$(ktrace_rs_stat procs)" 2 "traced processes"
	ktrace -d -t c -f family.out -p "$(pgrep -P "$parent" debug)" || fail "ktrace -d: status $?"
	check_eq "$(ktrace_rs_stat procs)" 2 "traced processes"
	exec 8>&-
	wait "$parent" || fail "parent: status $?"
	check_ok has family.out '^SYSCALL .* comm=debug '
fi

note "truss of a traced process"
ktrace -i -t cw -f truss.ktrace truss -f -o truss.out "$KT_BIN/crowd" call 1 $calls || fail "truss: status $?"
check_eq "$(grep -c 'getppid()' truss.out)" $calls "calls that truss saw"
check_eq "$(seen truss.ktrace)" "$calls $calls" "calls and returns that were traced"

note "truss -p of a traced process"
spawn_tick
tick=$spawned
ktrace -t cu -f tick.out -p "$tick"
truss -o tick.truss -p "$tick" &
truss=$!
wait_for 20 grep -q utrace tick.truss
check_ok grows tick.out
kill -INT $truss
wait $truss
check_ok grows tick.out

note "step by step"
ktrace -i -t cw -f run.out "$KT_BIN/debug" run "$KT_BIN/ktr_call" state $$ >run.txt || fail "debug: status $?"
raw run.out >raw.out
# The debugger sees every call after the return of execve(2), when the process has its new name.
awk '
    NR == FNR { if (NF == 2 && $1 ~ /^[0-9]+$/) { want[$1] = $2; calls += $2 }; next }
    $1 == "SYSCALL" && $5 == "comm=ktr_call" { sub(/^code=/, "", $9); got[$9]++ }
    END {
	for (code in want)
		if (got[code] + 0 != want[code]) { print code ": " got[code] + 0 ", want " want[code]; bad = 1 }
	for (code in got)
		if (!(code in want)) { print code ": " got[code] ", want none"; bad = 1 }
	print calls " calls"
	exit bad || calls < 10
    }' run.txt raw.out || fail "calls that the debugger saw and that were traced"
"$KT_BIN/debug" steps "$tick" 40 || fail "debug steps: status $?"
check_ok grows tick.out

note "held while the module leaves"
spawn ktrace -t cuw -f stopped.out "$KT_BIN/tick"
stopped=$spawned
wait_for 10 test -s stopped.out
mkfifo hold
"$KT_BIN/debug" hold "$tick" <hold >held &
debugger=$!
exec 9>hold
wait_for 10 grep -q held held
kill -STOP "$stopped"
if ! is_stock; then
	kldunload -f ktrace_rs || fail "kldunload -f: status $?"
	check_ok is_not_traced "$tick"
	check_ok is_not_traced "$stopped"
	module_load
fi
kill -CONT "$stopped"
exec 9>&-
wait $debugger || fail "debug hold: status $?"
ktrace -t cu -f again.out -p "$tick"
ktrace -t cuw -f stopped.out -p "$stopped"
check_ok grows again.out
check_ok grows stopped.out
raw -q tick.out
raw -q stopped.out

note "killed by the debugger"
"$KT_BIN/debug" kill "$stopped" || fail "debug kill: status $?"
"$KT_BIN/debug" kill "$tick" || fail "debug kill: status $?"
wait_for 10 has_ended "$tick"
wait_for 10 has_ended "$stopped"
for file in again.out stopped.out; do
	check_ge "$(records $file)" 3 "records"
	check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record of $file"
done
is_stock || wait_for 5 idle
