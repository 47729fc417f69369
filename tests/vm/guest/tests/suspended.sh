#!/bin/sh
# Shows that traced programs survive a suspended file system under their trace, and lose no record.
#
# Snapshots are made during writes, or the file system is suspended as growfs(8) does it. The
# programs wait, take their signals, and continue.
# timeout: 240
# full timeout: 900
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_load
rounds=$(scaled 2 20)

memory_mark
is_stock || dropped=$(ktrace_rs_stat dropped)
bystander
memory_disk 64
ufs "/dev/$disk" disk
quiet

# steady FILE OPTION...: traces steady to FILE, with its process id in $pid.
steady() {
	_file=$1
	shift
	ktrace -t csw -f "$_file" "$KT_BIN/steady" "$@" >"said.${_file##*/}" &
	pid=$!
	at_exit "kill -KILL $pid 2>/dev/null"
	begun "$_file" $pid
}

note "suspended again and again, signals pending"
steady disk/a -p 1000
for round in $(jot "$rounds"); do
	wait_for 60 grows disk/a
	suspend disk
	wait_for 60 waits_for_resume $pid
	size=$(stat -f %z disk/a)
	kill -USR1 $pid
	kill -USR2 $pid
	waits_for_resume $pid || fail "a signal ends the wait"
	check_eq "$(stat -f %z disk/a)" "$size" "size of the file of a suspended file system"
	# Other file systems are not affected.
	is_stock || check_ok grows bystander.out
	resume
done
wait_for 60 grows disk/a
kill -HUP $pid
wait $pid || fail "the program: status $?"
complete disk/a $pid said.a
check_eq "$(said said.a signals)" $((2 * rounds + 1)) "signals"

for number in 15 9; do
	signal=$(kill -l $number)
	note "suspended, SIG$signal pending"
	steady disk/b -p 1000
	suspend disk
	wait_for 60 waits_for_resume $pid
	kill -$signal $pid
	waits_for_resume $pid || fail "a signal ends the wait"
	resume
	status=0
	wait $pid || status=$?
	check_eq "$(kill -l $status)" $signal "signal"
	check_eq "$(records disk/b "^PSIG pid=$pid .* signo=$number ")" 1 "PSIG records"
	check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record"
	check_eq "$(grep -c ' drop=1' raw.out)" 0 "drops"
	rm disk/b
done

if ! is_stock; then
	note "suspended, several threads: the helper is there for others"
	steady disk/threads -s -p 1000
	suspend disk
	wait_for 60 waits_for_resume $pid
	# Records of the thread that sleeps again and again are queued.
	is_queued() {
		[ "$(ktrace_rs_stat queued)" -ge 1000 ]
	}
	wait_for 60 is_queued
	spawn ktrace -t w -f sleeper.out "$KT_BIN/in_poll"
	sleeper=$spawned
	sleeps() {
		[ "$(records sleeper.out "^CSW pid=$sleeper .* out=1 user=0 wmesg=select")" -eq 1 ]
	}
	wait_for 30 sleeps
	check_ok waits_for_resume $pid
	resume
	untrace $sleeper
	kill $sleeper
	wait $sleeper || :
	kill -HUP $pid
	wait $pid || fail "the program: status $?"
	complete disk/threads $pid said.threads
fi

note "snapshots, fsync(2), and signals, while two programs write"
# Pauses keep the disk from filling up within a second.
steady disk/c -p 100
first=$pid
steady disk/d -p 500
second=$pid
(while [ ! -e stop ]; do fsync disk/c disk/d || exit; done) &
syncer=$!
at_exit ": >$PWD/stop"
for round in $(jot "$rounds"); do
	mksnap_ffs "disk/snapshot" &
	snapshot=$!
	while kill -0 $snapshot 2>/dev/null; do
		kill -USR1 $first
		kill -USR2 $second
		sleep 0.05
	done
	wait $snapshot || fail "mksnap_ffs: status $?"
	rm -f disk/snapshot
done
: >stop
wait $syncer || fail "fsync: status $?"
for pid in $first $second; do
	kill -HUP $pid
	wait $pid || fail "$pid: status $?"
done
complete disk/c $first said.c
complete disk/d $second said.d
for file in said.c said.d; do
	check_ge "$(said $file signals)" 2 "signals"
done

! logged "ktrace write failed" || fail "a write failed"
bystander_unhurt
umount disk || fail "the file system is still busy"
is_stock || check_eq "$(ktrace_rs_stat dropped)" "$dropped" "kern.ktrace_rs.stats.dropped"
nothing_left
