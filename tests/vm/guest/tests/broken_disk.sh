#!/bin/sh
# Shows that a traced program survives a disk that fails under its trace.
#
# Writes fail, reads fail, the disk is removed, or the file system is unmounted by force. The
# program neither fails nor is killed. Its trace ends, the log gives the reason, and the written
# part is whole.
# timeout: 180
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_load
kldload -n geom_nop || skip "no geom_nop"
memory_mark
bystander

# faulty MEGABYTES DIRECTORY NEWFS-OPTION...: as ufs, on a disk $nop whose requests can be made to
# fail.
faulty() {
	memory_disk "$1"
	gnop create "/dev/$disk" || fail "gnop create"
	nop=$disk.nop
	at_exit "gnop destroy -f $nop 2>/dev/null"
	shift
	_where=$1
	shift
	ufs "/dev/$nop" "$_where" "$@"
	at_exit "healed 2>/dev/null"
}
broken() {
	gnop configure -e 5 -w "$1" -r "$2" "$nop" || fail "gnop configure"
}
healed() {
	gnop configure -w 0 -r 0 "$nop"
}
not_mounted() {
	! is_mounted "$1"
}
# away DIRECTORY: unmounts the file system, and fails unless all users have released it.
away() {
	umount "$1" || fail "the file system is still busy"
	gnop destroy "$nop" || fail "gnop destroy"
	mdconfig -d -u "$disk" || fail "mdconfig -d"
}

note "writes fail"
# Without soft updates, a file's first indirect block is written at once, after twelve blocks. With
# soft updates, UFS turns an error into ENXIO and unmounts itself.
faulty 8 disk -O 1 -b 4096 -f 512
ktrace -t c -f disk/out "$KT_BIN/steady" 20 >said || fail "the program: status $?"
fsync disk/out
cp disk/out before.out
quiet
broken 100 0
ktrace -a -t c -f disk/out "$KT_BIN/steady" 2000 >said &
pid=$!
wait $pid || fail "the program: status $?"
check_eq "$(cat said)" "calls 2000 signals 0" "what the program says"
failed_with '(5|6)' $pid || fail "no error of $pid is logged"
wait_for 60 not_mounted disk
healed
fsck_ffs -y "/dev/$nop" >fsck.out 2>&1 || fail "fsck: status $?"
mount "/dev/$nop" disk || fail "mount"
# No later record has reached the disk.
cmp disk/out before.out || fail "what was written before is not there"
away disk

note "reads fail"
# The end of a file has to be read before the next record can be appended.
faulty 8 disk -O 1
ktrace -t c -f disk/out true
cp disk/out before.out
umount disk
mount "/dev/$nop" disk || fail "mount"
check_eq "$(stat -f %z disk/out)" "$(stat -f %z before.out)" "size"
quiet
broken 0 100
ktrace -a -t c -f disk/out "$KT_BIN/steady" 100 >said &
pid=$!
wait $pid || fail "the program: status $?"
check_eq "$(cat said)" "calls 100 signals 0" "what the program says"
failed_with '(5|6)' $pid || fail "no error of $pid is logged"
healed
cmp disk/out before.out || fail "the file has changed"
away disk

# ends PID: checks that the program succeeds, after its trace has ended with EIO or ENXIO.
ends() {
	wait_for 60 failed_with '(5|6)' "$1"
	wait_for 10 is_not_traced "$1"
	kill -HUP "$1"
	wait "$1" || fail "the program: status $?"
	check_has said '^calls [0-9]+ signals 1$'
}

note "the disk is pulled"
memory_disk 8
ufs "/dev/$disk" disk -b 4096 -f 512
quiet
ktrace -t cs -f disk/out "$KT_BIN/steady" -p 100 >said &
pid=$!
at_exit "kill $pid 2>/dev/null"
begun disk/out $pid
mdconfig -d -u "$disk" -o force || fail "mdconfig -d"
ends $pid
is_mounted disk && umount -f disk

note "forced unmount of a UFS, two programs with one file"
memory_disk 64
ufs "/dev/$disk" disk
quiet
ktrace -t cs -f disk/out "$KT_BIN/steady" -p 100 >said &
first=$!
at_exit "kill $first 2>/dev/null"
begun disk/out $first
ktrace -a -t cs -f disk/out "$KT_BIN/steady" -p 100 >said.second &
second=$!
at_exit "kill $second 2>/dev/null"
begun disk/out $second
fsync disk/out
cp disk/out before.out
umount -f disk || fail "umount -f: status $?"
ends $first
wait_for 60 failed_with '(5|6)' $second
kill -HUP $second
wait $second || fail "the second program: status $?"
check_has said.second '^calls [0-9]+ signals 1$'
mount "/dev/$disk" disk || fail "mount"
raw -q disk/out
head -c "$(stat -f %z before.out)" disk/out | cmp - before.out || fail "what was on the disk before is not there"

bystander_unhurt
nothing_left
