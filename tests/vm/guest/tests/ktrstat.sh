#!/bin/sh
# Shows that ktrstat(1) reports the same as the sysctls and the files, as a table and as JSON.
#
# Its status reports drops. Without the module, or with bad arguments, it prints a message and
# fails.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
ktrstat=$KT_BIN/ktrstat

note "without the module"
for option in '' -1 -j; do
	check_fails '^ktrstat: ktrace_rs is not loaded: kldload ktrace_rs$' "$ktrstat" $option
done
check_status 2 "$ktrstat" 2>error

module_load
note "bad options"
for bad in '-s 0' '-s x' '-d -1' -x more; do
	check_fails 'error: ' "$ktrstat" $bad
done

note "nobody is traced"
"$ktrstat" -1 >table || fail "status $?"
check_has table '^ktrace_rs [0-9.]*: 0 processes, 0 files; '

note "two processes"
spawn_tick
tick=$spawned
spawn sleep 1000
ktrace -t cu -f 'a b.out' -p "$tick"
ktrace -a -t w -f 'a b.out' -p "$spawned"
check_ok grows 'a b.out'
"$ktrstat" -1 >table || fail "status $?"
cat table
check_has table '^ktrace_rs [0-9.]*: 2 processes, 1 files; '
check_has table "^ *$tick tick +cu .* $PWD/a b.out$"
check_has table "^ *$spawned sleep +w .* $PWD/a b.out$"
"$ktrstat" -s 0.5 -d 2 >table || fail "status $?"
check_eq "$(grep -c ' records/s, ' table)" 2 "displays"
check_has table '^[1-9][0-9]* records/s, [0-9.]+[BKM]/s in [0-9]+ writes/s$'

note "as JSON, of processes at rest"
kill -STOP "$tick"
wait_for 10 rests 'a b.out'
"$ktrstat" -j >json || fail "status $?"
cat json
size=$(stat -f %z 'a b.out')
check_has json '^\{"__version":"1","ktrstat":\{"module-version":"'
check_has json "\"pid\":$tick,\"command\":\"tick\",\"facilities\":\"cu\",\"queued\":0,\"dropped\":0,\"bytes\":[0-9]+,\"file\":\"$PWD/a b.out\""
check_has json "\"file\":\"$PWD/a b.out\",\"processes\":2,\"records\":$(records 'a b.out'),\"commits\":[0-9]+,\"bytes\":$size,\"gathered\":0"

note "as another user"
su -m nobody -c "$ktrstat -1" >table || fail "status $?"
check_has table "^ *$tick tick +cu .* -$"
spawn_nobodys own.out
su -m nobody -c "$ktrstat -1" >table || fail "status $?"
check_has table "^ *$spawned sleep +c .* $PWD/own.out$"

note "where the statistics are refused: in a jail, and to a user who sees no others"
refused='^ktrace_rs [0-9.]*: %s processes, %s files; statistics of all users and jails: not permitted$'
others=$(sysctl -n security.bsd.see_other_uids)
at_exit "sysctl -q security.bsd.see_other_uids=$others"
sysctl -q security.bsd.see_other_uids=0
su -m nobody -c "$ktrstat -1" >table || fail "status $?"
check_has table "$(printf "$refused" 1 1)"
check_has table "^ *$spawned sleep +c .* $PWD/own.out$"
su -m nobody -c "$ktrstat -s 0.1 -d 1" >table || fail "status $?"
check_lacks table ' records/s, '
su -m nobody -c "$ktrstat -j" >json || fail "status $?"
check_has json '"records":null,"bytes":null,"commits":null,"dropped":null,"process":\[\{"pid":'
"$ktrstat" -1 >table || fail "status $?"
check_has table '^ktrace_rs [0-9.]*: 3 processes, 2 files; [0-9]+ records, '
sysctl -q security.bsd.see_other_uids="$others"
jail -c path=/ name=ktrace_rs_ktrstat persist || fail "jail"
at_exit "jail -r ktrace_rs_ktrstat"
jexec ktrace_rs_ktrstat "$ktrstat" -1 >table || fail "status $?"
check_has table "$(printf "$refused" 0 0)"
kill "$spawned"
wait "$spawned" || :

note "on a terminal: each display in the place of the last"
script -q terminal.out "$ktrstat" -s 0.3 -d 3 </dev/null >/dev/null || fail "status $?"
check_eq "$(tr '\033' '\n' <terminal.out | grep -Ec '^\[H$')" 3 "times that the cursor goes home"
check_has terminal.out ': 2 processes, 1 files; '
check_eq "$(tr -d -c '\033' <table)" "" "escapes in what is no terminal"

note "after a drop"
kill -CONT "$tick"
ktrace -C
little_room
drops() {
	ktrace -t f -f drops.out "$KT_BIN/big_read" 4096 || fail "big_read: status $?"
	[ "$(ktrace_rs_stat dropped)" -gt 0 ]
}
wait_for 60 drops
for option in -1 -j '-s 0.1 -d 1'; do
	check_status 1 "$ktrstat" $option >said
done
wait_for 5 idle
module_unload
