#!/bin/sh
# Shows that a process traced to a disk of 256 KiB/s is slowed down to the disk's rate and loses
# nothing.
#
# Signals reach it while it waits for the disk, and are recorded. A process traced to another disk
# is not slowed down.
# timeout: 180
# full timeout: 900
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_load
rate=262144
processes=$(scaled 1 4)
calls=$(scaled 20000 30000)

[ -c "$KT_SLOW_DISK" ] || fail "no slow disk"
ufs "$KT_SLOW_DISK" slow -s 65536
# Write each block when it is full.
mount -u -o noclusterw "$PWD/slow" || fail "mount -u"
mkdir fast
mount -t tmpfs tmpfs fast || skip "no tmpfs"
at_exit "umount -f $PWD/fast"
# Limit the data on its way to all disks, beyond which a writer waits.
lowest=$(sysctl -n vfs.lorunningspace)
highest=$(sysctl -n vfs.hirunningspace)
at_exit "sysctl -q vfs.hirunningspace=$highest vfs.lorunningspace=$lowest"
sysctl -q vfs.lorunningspace=65536 vfs.hirunningspace=131072

memory_mark
is_stock || dropped=$(ktrace_rs_stat dropped)

# cost FILE: sets $cost to what a step costs pace, traced to FILE.
cost() {
	pace "$1"
	cost=1000000000
	for _try in $(jot 12); do
		cost=$(pace_cost "$cost") || fail "$cost"
	done
	is_stock || pace_whole
}
# The same work for the disk, untraced.
spawn dd if=/dev/zero of=slow/filler bs=16k
cost fast/untraced.out
untraced=$cost
kill "$spawned"
wait "$spawned" || :
rm slow/filler

note "$processes programs of $calls calls each"
is_stock || waited=$(ktrace_rs_stat waited)
start=$(date +%s)
pids=
for i in $(jot "$processes"); do
	ktrace -t cs -f "slow/$i.out" "$KT_BIN/steady" "$calls" >"said.$i" &
	eval "pid$i=$!"
	pids="$pids $!"
	at_exit "kill $! 2>/dev/null"
done
# Not with begun: reading the whole file would take longer than the programs run.
is_at_work() {
	[ "$(stat -f %z "$1")" -ge 200000 ]
}
for i in $(jot "$processes"); do
	wait_for 60 is_at_work "slow/$i.out"
done
waits_for_disk() {
	waits_in "$1" 'wdrain|bufwait|getblk|flswai|ktrace_r.*'
}
for pid in $pids; do
	for signal in USR1 USR2 USR1; do
		wait_for 60 waits_for_disk "$pid"
		kill -$signal "$pid"
	done
done

cost fast/beside.out
beside=$cost
for pid in $pids; do
	is_traced "$pid" || fail "$pid has ended already: the disk is not slow"
done
is_stock || check_le $((2 * beside)) $((3 * untraced)) "twice the time for a step of a process traced elsewhere"

for pid in $pids; do
	wait "$pid" || fail "$pid: status $?"
done
took=$(($(date +%s) - start))
bytes=$(cat slow/*.out | wc -c)
note "$((bytes)) bytes in $took s; elsewhere a step takes $beside ns, $untraced ns beside the same untraced"
is_stock || check_ge $(($(ktrace_rs_stat waited) - waited)) $((took * 1000000 / 2)) "microseconds of waiting"
# A part may still be in memory, and the disk may accept a little at once.
check_ge $((took + 2)) $(((bytes - 1048576) / rate)) "seconds"
for i in $(jot "$processes"); do
	eval "complete slow/$i.out \$pid$i said.$i"
	check_ge "$(said "said.$i" signals)" 2 "signals"
done
is_stock || check_eq "$(ktrace_rs_stat dropped)" "$dropped" "kern.ktrace_rs.stats.dropped"
nothing_left
