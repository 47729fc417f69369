#!/bin/sh
# Shows that an unload is refused while a trace file's disk does not answer.
#
# The file system is suspended. The refusal comes within some seconds and names the file. Meanwhile
# kldstat(8) answers, and ktrace(2) fails with EBUSY. Files on other disks are written. When the disk
# is back, everything is written and the module unloads.
# timeout: 240
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
need_module
module_load
memory_disk 64
ufs "/dev/$disk" disk
quiet

spawn ktrace -t c -f disk/hung.out "$KT_BIN/steady" -p 1000
steady=$spawned
begun disk/hung.out "$steady"
suspend disk
wait_for 60 waits_for_resume "$steady"
spawn ktrace -t c -f elsewhere.out "$KT_BIN/steady" -p 1000
elsewhere=$spawned
begun elsewhere.out "$elsewhere"

kldunload -f ktrace_rs &
unload=$!
sleep 1
check_eq "$("$KT_BIN/ktr_call" ktrace "$PWD/elsewhere.out" set 0x6 $$)" EBUSY "ktrace(2) during the unload"
kldstat >/dev/null &
look=$!
wait_for 60 has_ended "$unload"
wait_for 10 has_ended "$look"
! wait "$unload" || fail "the module is unloaded"
check_ok logged 'ktrace_rs: cannot unload: .*hung.out is not written yet'
is_not_traced "$elsewhere" || fail "tracing goes on"
resume
wait_for 30 idle
check_eq "$("$KT_BIN/ktr_call" ktrace "$PWD/elsewhere.out" set 0x6 $$)" ok "ktrace(2) after it"
untrace $$
kill -HUP "$steady" "$elsewhere"
wait "$steady" || fail "steady: status $?"
wait "$elsewhere" || fail "steady: status $?"
module_unload
check_ge "$(records disk/hung.out '^SYSRET ')" 1 "records on the disk"
check_ge "$(records elsewhere.out '^SYSRET ')" 1 "records elsewhere"
