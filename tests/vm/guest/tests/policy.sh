#!/bin/sh
# Shows when records are written under each kern.ktrace_rs.policy and its settings.
#
# For each policy, the test checks the number of records per write. It also checks the contents of
# the file while its process runs, sleeps, stops or executes another program. Changes of policy
# under load lose nothing.
# timeout: 240
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load
calls=3000

setting() {
	sysctl -q "kern.ktrace_rs.$1" || fail "sysctl $1"
}

note "values that make no sense are refused, and nothing changes"
# refuses NAME DEFAULT BAD...: checks that each bad value of the setting is refused.
refuses() {
	_name=$1 _default=$2
	shift 2
	check_eq "$(sysctl -n "kern.ktrace_rs.$_name")" "$_default" "$_name"
	for _bad; do
		# sysctl(8) itself refuses values that are no number.
		check_fails 'Invalid argument|invalid .*integer' sysctl "kern.ktrace_rs.$_name=$_bad"
	done
	check_eq "$(sysctl -n "kern.ktrace_rs.$_name")" "$_default" "$_name after $*"
}
refuses policy batch records Batch batchbatch 1 recordrecordrecordrecordrecordrecordrecord
refuses batch_bytes 65536 0 -1 8191 1048577 x
refuses batch_records 1000000 0 -1 1000001 x
refuses latency 50 0 -1 10001 4294967295 x
refuses at_once '' + cq C 'c n'
setting at_once=wcn
check_eq "$(sysctl -n kern.ktrace_rs.at_once)" cnw at_once
setting at_once=

note "records of a write"
# per_write POLICY [COMMAND...]: measures the number of records in a hundred writes. The default
# program makes two records in each system call.
per_write() {
	setting "policy=$1"
	_policy=$1
	shift
	[ $# -ne 0 ] || set -- -t c -f out "$KT_BIN/steady" $calls
	_records=$(ktrace_rs_stat records) _commits=$(ktrace_rs_stat commits)
	ktrace "$@" >said || fail "$*: status $?"
	_records=$(($(ktrace_rs_stat records) - _records)) _commits=$(($(ktrace_rs_stat commits) - _commits))
	raw -q out
	read -r _word _found _rest <raw.err
	check_eq "$_found" $_records "records under $_policy"
	check_ge $_records $((2 * calls)) "records under $_policy"
	per_write=$((100 * _records / _commits))
	echo "$_policy: $_records records, $_commits writes"
}
per_write record
# One or two fewer when tracing begins.
check_le $per_write 101 "records of a hundred writes"
per_write return
check_ge $per_write 190 "records of a hundred writes"
check_le $per_write 220 "records of a hundred writes"
# open(2) makes SYSCALL, NAMEI and SYSRET; close(2) makes two records.
per_write return -i -t cn -f out "$KT_BIN/bench" -m 1000 open
check_ge $per_write 240 "records of a hundred writes of opens and closes"
check_le $per_write 260 "records of a hundred writes of opens and closes"
per_write batch
check_ge $per_write 20000 "records of a hundred writes"
setting batch_records=10
per_write batch
check_ge $per_write 900 "records of a hundred writes of ten"
check_le $per_write 1100 "records of a hundred writes of ten"
setting batch_records=1000000
setting batch_bytes=8192
per_write batch
check_ge $per_write 5000 "records of a hundred writes of 8 KiB"
check_le $per_write 11000 "records of a hundred writes of 8 KiB"
setting batch_bytes=65536
ls -l /bin >/dev/null
check_eq "$(ktrace_rs_stat queued) $(ktrace_rs_stat oldest)" "0 0" "bytes that wait, and since when"

note "at once: what has been made until then is in the file, whoever made it"
setting latency=10000
setting at_once=u
spawn ktrace -t cu -f at_once.out "$KT_BIN/tick"
wait_for 20 has at_once.out '^USER .*data=tick'
check_ge "$(records at_once.out '^SYSCALL ')" 3 "calls before"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" USER "last record"
untrace "$spawned"
setting at_once=

note "a policy holds for traces that there are, from the next record on"
spawn ktrace -t u -f goes_on.out "$KT_BIN/tick"
wait_for 10 is_traced "$spawned"
sleep 1
check_eq "$(records goes_on.out '^USER ')" 0 "records of a batch"
setting policy=record
wait_for 3 has goes_on.out '^USER .*data=tick'
untrace "$spawned"
setting policy=batch

note "records wait for as long as they may, and no longer"
spawn ktrace -t c -f waits.out sleep 1000
wait_for 20 sleeps "$spawned"
check_eq "$(records waits.out ' code=240 ')" 0 "calls of nanosleep in the file"
check_ge "$(ktrace_rs_stat queued)" 80 "bytes that wait"
sleep 0.5
check_ge "$(ktrace_rs_stat oldest)" 400 "milliseconds"
setting latency=50
wait_for 5 has waits.out ' code=240 '
check_eq "$(ktrace_rs_stat queued)" 0 "bytes that wait"
kill "$spawned"
wait "$spawned" || :

note "a process that stops, one that never leaves user mode, and one that is killed"
setting latency=10000
spawn ktrace -t cs -f stops.out sh -c 'kill -STOP $$; :'
wait_for 5 has stops.out '^SYSRET .* code=37 '
kill -KILL "$spawned"
wait "$spawned" || :
check_eq "$(records stops.out '^PSIG .* signo=9 ')" 1 "PSIG of the kill"
check_eq "$(tail -1 raw.out | cut -d ' ' -f 1)" PROCDTOR "last record"
setting latency=50
spawn ktrace -t c -f spins.out awk 'BEGIN { system("true"); while (1) i++ }'
# fork(2) in system(3) is one of its last calls.
wait_for 5 has spins.out '^SYSRET .* code=7 '
kill -KILL "$spawned"
wait "$spawned" || :

note "what was made before another program is executed is written by then"
setting latency=10000
spawn ktrace -t cn -f execs.out sh -c 'exec sleep 1000'
wait_for 20 sleeps "$spawned"
check_ge "$(records execs.out '^NAMEI .*data=/bin/sleep')" 1 "the path of the program"
check_eq "$(records execs.out ' code=240 ')" 0 "calls of nanosleep in the file"
kill "$spawned"
wait "$spawned" || :
setting latency=50

note "kdump -l shows lines as they come"
spawn ktrace -t u -f live.out "$KT_BIN/tick"
tick=$spawned
wait_for 10 test -s live.out
spawn kdump -l -f live.out >live.txt
lines() {
	[ "$(wc -l <live.txt)" -ge "$1" ]
}
wait_for 20 lines 10
shown=$(wc -l <live.txt)
wait_for 5 lines $((shown + 10))
kill "$spawned"
untrace "$tick"

note "policies that change under load"
(
	while [ ! -e stop ]; do
		for change in policy=record batch_bytes=8192 policy=return batch_records=7 policy=batch at_once=c \
		    batch_bytes=1048576 at_once= batch_records=1000000 batch_bytes=65536; do
			sysctl -q "kern.ktrace_rs.$change" || exit
			sleep 0.05
		done
	done
) &
changer=$!
at_exit ": >$PWD/stop"
for round in 1 2; do
	for load in "sleep 20 50" "signals 1 300" "pingpong 4 200"; do
		rm -f out
		ktrace -i -t+wf -f out "$KT_BIN/crowd" $load made || fail "crowd $load: status $?"
		"$KT_BIN/ktr_audit" -m made out >audit.out || fail "$load: $(cat audit.out)"
		tail -n 1 audit.out
	done
done
: >stop
wait $changer || fail "sysctl: status $?"
check_eq "$(ktrace_rs_stat dropped)" 0 "kern.ktrace_rs.stats.dropped"
wait_for 5 idle
module_unload

note "as loader tunables"
settings="policy at_once latency batch_bytes batch_records queue_limit"
at_exit "for name in $settings; do kenv -qu kern.ktrace_rs.\$name; done"
# tunables VALUE... WANT: checks the settings after a load with these tunables, in that order.
tunables() {
	for _name in $settings; do
		kenv "kern.ktrace_rs.$_name=$1" >/dev/null || fail "kenv $_name=$1"
		shift
	done
	module_load
	check_eq "$(for _name in $settings; do sysctl -n "kern.ktrace_rs.$_name"; done | paste -s -d , -)" "$1" settings
	module_unload
}
tunables return nw 200 16384 1000 8192 return,nw,200,16384,1000,8192
# Values that make no sense give the defaults.
tunables never ? 0 8191 1000001 4095 batch,,50,65536,1000000,262144
