#!/bin/sh
# Shows how little memory traces need at rest, and that a user at the limit harms no other.
# timeout: 600
# full timeout: 3600
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
need_module
module_load
processes=$(scaled 60 1000)

# at_rest: returns whether no file has had a record for the time in which its buffers are freed.
at_rest() {
	_memory=$(ktrace_rs_stat memory)
	sleep 3
	[ "$(ktrace_rs_stat memory)" -eq "$_memory" ] && [ "$(ktrace_rs_stat queued)" -eq 0 ]
}

note "idle processes that are traced to one file, every point"
# What the user's traces share is there already.
spawn sleep 10000
ktrace -t cfnisptuwy -f first.out -p "$spawned"
idle_crowd "$processes"
wait_for 30 at_rest
before=$(bytes_in_use)
ktrace -d -t cfnisptuwy -f one.out -p "$crowd"
check_eq "$(ktrace_rs_stat procs)" $((processes + 2)) "traced processes"
wait_for 30 at_rest
each=$((($(bytes_in_use) - before) / processes))
note "$each bytes for each process"
check_le $each 12288 "bytes for an idle process"
ktrace -c -f one.out

note "the same, each traced to a file of its own"
wait_for 30 at_rest
before=$(bytes_in_use)
for pid in $(pgrep -P "$crowd"); do
	ktrace -t cfnisptuwy -f "own.$pid" -p "$pid"
done
check_eq "$(ktrace_rs_stat files)" $((processes + 1)) "trace files"
wait_for $(scaled 60 300) at_rest
each=$((($(bytes_in_use) - before) / processes))
note "$each bytes for each process and its file"
check_le $each $((12288 + 32768)) "bytes for an idle process and its file"
for pid in $(pgrep -P "$crowd"); do
	[ "$(records "own.$pid")" -le 2 ] || fail "$pid is not idle"
done
ktrace -C
pkill -P "$crowd"
wait_for 30 idle

note "a user at the limit beside root"
limit=$((512 * 1024))
default=$(sysctl -n kern.ktrace_rs.user_memory_limit)
at_exit "sysctl -q kern.ktrace_rs.user_memory_limit=$default"
sysctl kern.ktrace_rs.user_memory_limit=$limit
pace pace.out
processes=$(scaled 300 3000)
mkdir nobodys
chown nobody nobodys
spawn "$KT_BIN/ktr_call" -u "$(id -u nobody)" exec \
    /usr/bin/ktrace -i -t +w -f "$PWD/nobodys/crowd.out" "$KT_BIN/crowd" sleep "$processes" 20
crowd=$spawned
most=0
while ps -p "$crowd" -o stat= | grep -qv Z; do
	memory=$(ktrace_rs_stat memory)
	[ "$memory" -le "$most" ] || most=$memory
done
wait "$crowd" || fail "crowd: status $?"
note "$most bytes at the most, with a limit of $limit for each of two users"
# Each process of nobody would have 8192 bytes for its queue. Root has a pool of 262144 bytes.
check_ge "$most" $((limit * 9 / 10 + 262144)) "bytes of memory, of processes that want more"
check_le "$most" $((2 * limit)) "bytes of memory"
pace_whole
check_ge "$(records nobodys/crowd.out '^SYSRET ')" $((processes * 20 * 2)) "system calls of the user at the limit"
wait_for 10 idle
check_eq "$(ktrace_rs_stat memory)" 0 "bytes of memory, with nothing traced"
module_unload
