#!/bin/sh
# Shows that a traced program survives a trace file that can no longer be written.
#
# The file system is full, ulimit -f is reached, or the file system is unmounted by force. The
# program neither fails nor is killed. "ktrace write failed" is logged, its tracing ends, and the
# file holds only whole records. Other processes' traces continue. Removing a file during tracing is
# no failure.
# timeout: 180
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

# Make some ten thousand records, then write the pid to the named file.
cat >work.sh <<'END'
i=0
while [ $i -lt 3000 ]; do
	[ -e /nonexistent/file ] || i=$((i + 1))
done
echo $$ >"$1"
END

# failed_with ERRNO PID: returns whether the log has the end of the trace.
failed_with() {
	logged "ktrace write failed, errno $1, tracing stopped for pid $2\$"
}

pace bystander.out -s

note "full tmpfs, two processes with one file"
mkdir full
mount -t tmpfs -o size=262144 tmpfs full || skip "no tmpfs"
at_exit "umount -f $PWD/full 2>/dev/null"
is_stock || dropped=$(ktrace_rs_stat dropped)
quiet
ktrace -t cn -f full/out sh work.sh one &
first=$!
wait_for 10 test -s full/out
ktrace -a -t cn -f full/out sh work.sh two &
second=$!
wait $first || fail "the first program: status $?"
wait $second || fail "the second program: status $?"
check_eq "$(cat one two)" "$first
$second" "the programs' ends"
failed_with 28 $first || fail "ENOSPC of $first is not logged"
failed_with 28 $second || fail "ENOSPC of $second is not logged"
check_ge "$(records full/out "^SYSCALL pid=$first ")" 100 "records before"
is_stock || check_ge $(($(ktrace_rs_stat dropped) - dropped)) 2 "records dropped"
check_ok grows bystander.out
rm full/out
umount full || fail "the file system is still busy"

note "full UFS"
disk=$(mdconfig -a -t swap -s 8m) || fail "mdconfig"
at_exit "umount -f $PWD/full 2>/dev/null; mdconfig -d -u $disk 2>/dev/null"
newfs "/dev/$disk" >/dev/null || fail "newfs"
mount "/dev/$disk" full || fail "mount"
dd if=/dev/zero of=full/filler bs=64k 2>/dev/null
truncate -s -256k full/filler
quiet
ktrace -t cn -f full/out sh work.sh one || fail "the program: status $?"
failed_with 28 "$(cat one)" || fail "ENOSPC is not logged"
raw -q full/out
check_eq "$(ps -axo ktrace= | grep -cv '^ *0$')" 1 "processes traced, the bystander"
umount full || fail "the file system is still busy"
mdconfig -d -u "$disk"

note "ulimit -f: the record that has no room is the only one that is dropped"
is_stock || dropped=$(ktrace_rs_stat dropped)
is_stock || sysctl -q kern.ktrace_rs.policy=record || fail "sysctl"
quiet
(ulimit -f 64; exec ktrace -t cn -f limit.out sh work.sh one) || fail "the program: status $?"
failed_with 27 "$(cat one)" || fail "EFBIG is not logged"
size=$(stat -f %z limit.out)
check_le "$size" 32768 "size"
# The last record that would have fitted is in the file.
check_ge "$size" $((32768 - 256)) "size"
# The stock backend cuts the last record off at the limit.
if ! is_stock; then
	raw -q limit.out
	check_eq $(($(ktrace_rs_stat dropped) - dropped)) 1 "records dropped"
	sysctl -q kern.ktrace_rs.policy=batch || fail "sysctl"
fi

note "filesize_limit_signal"
check_eq "$(sysctl -n kern.ktrace.filesize_limit_signal)" 0 "kern.ktrace.filesize_limit_signal"
sysctl -q kern.ktrace.filesize_limit_signal=1
at_exit "sysctl -q kern.ktrace.filesize_limit_signal=0"
status=0
(ulimit -f 64; exec ktrace -t cn -f signal.out sh work.sh one) || status=$?
# In 14.x the stock backend never sends it: vfs_vnops.c is compiled without opt_ktrace.h.
if ! is_stock; then
	check_eq "$(kill -l "$status")" XFSZ "signal"
	raw -q signal.out
fi
sysctl -q kern.ktrace.filesize_limit_signal=0

note "forced unmount"
mount -t tmpfs tmpfs full
quiet
ktrace -t cn -f full/out sh -c 'while [ ! -e stop ]; do :; done' &
pid=$!
wait_for 10 test -s full/out
umount -f full || fail "umount -f: status $?"
wait_for 10 failed_with '(5|6)' $pid
: >stop
wait $pid || fail "the program: status $?"

note "file removed while traced to"
quiet
ktrace -t cn -f gone.out sh work.sh one &
pid=$!
wait_for 10 test -s gone.out
ln gone.out kept.out
rm gone.out
wait $pid || fail "the program: status $?"
! logged "ktrace write failed" || fail "a write failed"
check_ge "$(records kept.out "^SYSCALL pid=$pid ")" 3000 "records of the removed file"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record"

check_ok grows bystander.out
pace_whole
wait_for 5 idle
