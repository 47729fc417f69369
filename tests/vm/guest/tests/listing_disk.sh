#!/bin/sh
# Shows that reading the lists of kern.ktrace_rs does not wait for a locked trace file.
#
# A user's trace file has been removed. One large write(2) to it holds its vnode lock for half a
# minute.
# timeout: 240
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
need_module
module_load

[ -c "$KT_SLOW_DISK" ] || fail "no slow disk"
ufs "$KT_SLOW_DISK" slow -s 65536
# Write each block when it is full, with few of them on their way to the disk.
mount -u -o noclusterw "$PWD/slow" || fail "mount -u"
lowest=$(sysctl -n vfs.lorunningspace)
highest=$(sysctl -n vfs.hirunningspace)
at_exit "sysctl -q vfs.hirunningspace=$highest vfs.lorunningspace=$lowest"
sysctl -q vfs.lorunningspace=65536 vfs.hirunningspace=131072

spawn_nobodys slow/own.out
own=$spawned
file=$PWD/slow/own.out
exec 3>>slow/own.out
rm slow/own.out
dd if=/dev/zero bs=8m count=1 >&3 2>/dev/null &
writer=$!
exec 3>&-
wait_for 60 waits_in "$writer" 'wdrain|bufwait|getblk|flswai'

sysctl -n kern.ktrace_rs.procs >procs
sysctl -n kern.ktrace_rs.files >files
su -m nobody -c "sysctl -n kern.ktrace_rs.procs" >nobodys
kill -0 "$writer" 2>/dev/null || fail "the write was over before the lists were read"
for list in procs nobodys; do
	check_eq "$(awk -v pid="$own" '$1 == pid { print $7 }' "$list")" "$file" "file in $list"
done
check_eq "$(awk 'NR == 3 { print $1, $6 }' files)" "1 $file" "file in files"

wait "$writer" || fail "dd: status $?"
kill "$own"
wait "$own" || :
wait_for 60 idle
module_unload
