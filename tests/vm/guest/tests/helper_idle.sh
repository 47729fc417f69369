#!/bin/sh
# Shows that traced processes which make no records cost the helper nothing.
#
# One process makes records all the time, and the helper looks for overdue ones. It needs the same
# time for that beside 1,000 idle processes; at full length, beside 10,000, or as many as the machine
# has room for.
# timeout: 240
# full timeout: 1800
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load

helpers=$(ps -ax -o pid= -o comm= | awk '$2 == "ktrace_rs" { print $1 }' | paste -s -d , -)
[ -n "$helpers" ] || fail "no helper"

# On arm64, the kernel takes the time from the timecounter. Between two processors it sometimes counts
# one whole turn of that counter too many. The helpers cannot need as much in the time measured here.
turn=
if [ "$(uname -m)" = arm64 ]; then
	counter=kern.timecounter.tc.$(sysctl -n kern.timecounter.hardware)
	turn=$((($(sysctl -n "$counter.mask") + 1) * 100 / $(sysctl -n "$counter.frequency")))
fi

# cpu_time SECONDS: prints the time that the helper needs meanwhile, in hundredths of a second for
# ten seconds. A slow machine takes longer than SECONDS.
cpu_time() {
	_before=$(helper_time) _since=$(date +%s)
	sleep "$1"
	_time=$(($(helper_time) - _before))
	[ -z "$turn" ] || _time=$((_time % turn))
	echo $((_time * 10 / ($(date +%s) - _since)))
}
helper_time() {
	ps -o time= -p "$helpers" | awk '{ split($1, t, ":"); sum += t[1] * 60 + t[2] } END { printf "%d\n", sum * 100 + 0.5 }'
}

processes=$(scaled 1000 10000)
for most in $(($(sysctl -n kern.maxprocperuid) - 200)) $(($(sysctl -n hw.physmem) / 524288)); do
	[ "$processes" -le "$most" ] || processes=$most
done
note "$processes processes"
idle_crowd "$processes"
spawn_tick
ktrace -t c -f active.out -p "$spawned"
alone=$(cpu_time 10)

ktrace -d -t c -f idle.out -p "$crowd"
check_eq "$(ktrace_rs_stat procs)" $((processes + 2)) "traced processes"
settled() {
	[ "$(records idle.out)" -eq "$((processes + 1))" ]
}
wait_for $(scaled 20 120) settled
beside=$(cpu_time 10)
note "hundredths of a second of the helper in ten seconds: $alone alone, $beside beside $processes idle processes"
check_ge "$alone" 1 "time of the helper alone"
# At full length the host has no other work, and ten hundredths are one per cent of a CPU.
check_le "$beside" $((alone + $(scaled $((alone / 2 + 5)) 10))) "time of the helper"
ktrace -C
wait_for $(scaled 20 120) idle
