#!/bin/sh
# Shows that a trace file is written with the credentials of who began the trace, and ends with EDQUOT
# at a disk quota of that user.
# timeout: 180
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_load
command -v quotaon >/dev/null || skip "the image has no quotaon(8)"
nobody=$(id -u nobody)

memory_disk 32
ufs "/dev/$disk" disk
echo "/dev/$disk $PWD/disk ufs rw,userquota 0 0" >fstab
export PATH_FSTAB="$PWD/fstab"
quotacheck -u "$PWD/disk" || fail "quotacheck: status $?"
edquota -u -e "$PWD/disk:256:256" nobody || fail "edquota: status $?"
quotaon -u "$PWD/disk" || skip "the kernel has no quotas"
at_exit "quotaoff -u $PWD/disk"
quiet

note "traced by the user"
: >disk/nobodys
chown nobody disk/nobodys
"$KT_BIN/ktr_call" -u "$nobody" exec /usr/bin/ktrace -a -t c -f "$PWD/disk/nobodys" "$KT_BIN/steady" 20000 >said ||
    fail "the program: status $?"
check_eq "$(cat said)" "calls 20000 signals 0" "what the program says"
logged 'ktrace write failed, errno 69, tracing stopped for pid [0-9]+$' || fail "EDQUOT is not logged: $(dmesg)"
check_le "$(stat -f %z disk/nobodys)" $((256 * 1024)) "size"
is_stock || raw -q disk/nobodys
rm disk/nobodys

note "traced by root, who is not bound by it"
quiet
spawn "$KT_BIN/ktr_call" -u "$nobody" exec "$KT_BIN/tick"
wait_for 20 runs tick "$spawned"
dd if=/dev/zero of=disk/roots bs=64k count=4 2>/dev/null
chown nobody disk/roots
check_eq "$("$KT_BIN/ktr_call" ktrace "$PWD/disk/roots" set 0x86 "$spawned")" ok "ktrace(2)"
check_ok grows disk/roots
untrace "$spawned"
! logged 'ktrace write failed' || fail "a write failed: $(dmesg)"
