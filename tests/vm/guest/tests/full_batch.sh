#!/bin/sh
# Shows that a batch with too little room in the file is written up to the last record that fits.
#
# One system call leaves many queued records. A size limit, a full UFS or a full tmpfs leaves room
# for a part of them. The records that fit are whole. All others are counted as dropped, by type. The
# program and other traces continue.
# timeout: 120
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_only "the stock backend has no batches"
module_load
SYS_read=3
pages=1000
# Length of a FAULT, the longest record here.
longest=80

# Nothing is written before the call returns.
at_exit "sysctl -q kern.ktrace_rs.latency=50 kern.ktrace_rs.batch_bytes=65536"
sysctl -q kern.ktrace_rs.latency=10000 kern.ktrace_rs.batch_bytes=1048576 || fail "sysctl"
memory_mark
bystander

# Find the length of a trace with enough room, and the place of the read's records in it.
ktrace -t cf -f whole.out "$KT_BIN/big_read" $pages || fail "big_read: status $?"
raw whole.out >raw.out
whole=$(stat -f %z whole.out)
check_ge "$(grep -c '^FAULT ' raw.out)" $pages "faults"
# Leave room for about half of the read's records, of 148 bytes each including its end.
room=$(((whole - pages * 148 / 2) / 4096 * 4096))

# traced FILE [BLOCKS]: traces the program to FILE of at most BLOCKS blocks, with its process id in
# $pid.
traced() {
	quiet
	fault=$(ktrace_rs_stat type.fault.dropped) faultend=$(ktrace_rs_stat type.faultend.dropped)
	(ulimit -f "${2-unlimited}"; exec ktrace -t cf -f "$1" "$KT_BIN/big_read" $pages) &
	pid=$!
	wait $pid || fail "the program: status $?"
	fault=$(($(ktrace_rs_stat type.fault.dropped) - fault))
	faultend=$(($(ktrace_rs_stat type.faultend.dropped) - faultend))
	check_ge $((fault + faultend)) 1 "records dropped"
	# The file has no other user any more.
	wait_for 10 only_the_bystander
}
only_the_bystander() {
	[ "$(ktrace_rs_stat procs) $(ktrace_rs_stat files)" = "1 1" ]
}

# partly FILE ERRNO UNIT: checks that the trace ended within the read's records, in the last bytes
# of a unit of room.
partly() {
	failed_with "$2" "$pid" || fail "errno $2 of $pid is not logged"
	check_eq "$(dmesg | grep -c "tracing stopped for pid $pid\$")" 1 "log lines"
	check_eq "$(records "$1" ' drop=1')" 0 "marked KTR_DROP"
	awk -v code="code=$SYS_read" '
	    $1 == "SYSCALL" { last = $9; faults = 0; ends = 0; other = 0; next }
	    { faults += $1 == "FAULT"; ends += $1 == "FAULTEND"; other += $1 !~ /^FAULT(END)?$/ }
	    END { print faults + 0, ends + 0; exit last != code || other }' raw.out >after.out ||
	    fail "the read's records are not the last ones: $(cut -d ' ' -f 1,9 raw.out | tail -3)"
	read -r _faults _ends <after.out
	check_ge $((_faults + _ends)) 100 "records of the read"
	check_eq $((_faults + fault)) $pages "FAULT found and dropped"
	check_eq $((_ends + faultend)) $pages "FAULTEND found and dropped"
	_size=$(stat -f %z "$1")
	note "$_size bytes of $whole, $_faults FAULT and $_ends FAULTEND of the read"
	check_le $((($3 - _size % $3) % $3)) $((longest - 1)) "bytes of room that are not used"
}

note "ulimit -f"
traced limit.out $((room / 512))
partly limit.out 27 $room

note "full UFS"
memory_disk 8
ufs "/dev/$disk" full -O 1 -f 4096
leave_room full $((room / 1024))
traced full/out
partly full/out 28 4096
umount full || fail "the file system is still busy"

note "full tmpfs"
mount -t tmpfs -o size=2m tmpfs full || skip "no tmpfs"
leave_room full $((room / 1024))
traced full/out
partly full/out 28 4096
umount full || fail "the file system is still busy"

bystander_unhurt
nothing_left
