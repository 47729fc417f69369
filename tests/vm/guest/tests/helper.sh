#!/bin/sh
# Shows that the helper, a kernel process named ktrace_rs, writes records of a process that stays in
# the kernel.
#
# Records of a sleeping process are written while it sleeps. Context switches of one system call are
# all written, although its queue has too little room. The helper starts and ends with the module.
# timeout: 120
# full timeout: 300
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

helpers() {
	ps -ax -o comm= | grep -c '^ktrace_rs$'
}

check_eq "$(helpers)" 0 "kernel processes before"
module_load
check_eq "$(helpers)" 1 "kernel processes"
helped=$(ktrace_rs_stat helped)

for policy in record return batch; do
	note "asleep, under $policy"
	sysctl -q kern.ktrace_rs.policy=$policy || fail "policy $policy"
	spawn ktrace -t cw -f $policy.out "$KT_BIN/in_poll"
	wait_for 20 polls "$spawned"
	wait_for 3 has $policy.out "^CSW pid=$spawned .* out=1 user=0 wmesg=select"
	check_eq "$(records $policy.out '^SYSRET .* code=209 ')" 0 "returns of poll"
	check_eq "$(ktrace_rs_stat queued)" 0 "bytes queued"
	check_ge "$(ktrace_rs_stat helped)" $((helped + 1)) "times that it helped"
	helped=$(ktrace_rs_stat helped)
	untrace "$spawned"

	note "how late, under $policy"
	spawn ktrace -t w -f late.out "$KT_BIN/in_poll" -t 200
	wait_for 20 polls "$spawned"
	"$KT_BIN/latency" late.out "$(scaled 5 30)" >late || { cp late.out "$KT_OUT"; fail "latency: status $?"; }
	set -- $(cat late)
	note "$*"
	check_ge "$2" $(($(scaled 5 30) * 4)) "records"
	# Twice the latency, and one tick of the clock that this is measured with.
	check_le "$4" $((2 * 50 * 1000 + $6)) "microseconds until a record is in the file"
	untrace "$spawned"
done

note "awake: nobody is helped"
# Much longer than a busy machine keeps a thread off a processor.
sysctl -q kern.ktrace_rs.latency=1000 || fail "latency"
for policy in record return batch; do
	sysctl -q kern.ktrace_rs.policy=$policy || fail "policy $policy"
	helped=$(ktrace_rs_stat helped)
	ktrace -t c -f awake.out "$KT_BIN/steady" 20000 >said || fail "steady: status $?"
	check_eq "$(ktrace_rs_stat helped)" "$helped" "times that it helped under $policy"
done
sysctl -q kern.ktrace_rs.latency=50 || fail "latency"

note "busy in one system call"
switches=$(ktrace -t w -f busy.out "$KT_BIN/push" 8) || fail "push: status $?"
check_ge "$switches" 1000 "context switches"
check_eq "$(records busy.out '^CSW .* out=1 user=0')" "$(grep -c '^CSW .* out=0 user=0' raw.out)" "switches out and in"
waits=$(grep -c '^CSW .* out=1 user=0 wmesg=sb' raw.out)
note "$waits waits for the socket in $switches context switches"
check_le "$waits" "$switches" "waits for the socket"
# The others waited for a lock.
check_ge "$waits" $((switches - switches / 50)) "waits for the socket"
check_eq "$(records busy.out ' drop=1')" 0 "drops"
check_ge "$(ktrace_rs_stat helped)" $((helped + 1)) "times that it helped"

note "latency"
latency=kern.ktrace_rs.latency
check_eq "$(sysctl -n $latency)" 50 $latency
for bad in 0 -1 10001 x; do
	! sysctl "$latency=$bad" >/dev/null 2>&1 || fail "$latency=$bad is accepted"
	check_eq "$(sysctl -n $latency)" 50 "$latency after the refusal of '$bad'"
done
sysctl $latency=10000
spawn ktrace -t cw -f later.out "$KT_BIN/in_poll"
wait_for 20 polls "$spawned"
check_eq "$(records later.out '^CSW .* wmesg=select')" 0 "records of a sleep that has just begun"
untrace "$spawned"
check_eq "$(records later.out '^CSW .* out=1 user=0 wmesg=select')" 1 "records when tracing has ended"
sysctl $latency=50

wait_for 5 idle
module_unload
check_eq "$(helpers)" 0 "kernel processes after"
