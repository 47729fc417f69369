#!/bin/sh
# Shows that sysctl kern.ktrace_rs.procs and .files list each traced process and trace file
# correctly.
#
# The numbers match the files and the records that the processes have made. Processes that the
# caller may not see are not listed.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load

check_eq "$(sysctl -n kern.ktrace_rs.procs | sed 1d)" "PID COMMAND FACILITIES QUEUED DROPPED BYTES FILE" "procs"
check_eq "$(sysctl -n kern.ktrace_rs.files | sed 1d)" "PROCS RECORDS COMMITS BYTES GATHERED FILE" "files"

# column LIST NAME VALUE COLUMN: prints that column of the line that has VALUE in the column NAME.
column() {
	# Not with -v, which interprets a backslash as an escape.
	sysctl -n "kern.ktrace_rs.$1" | name="$2" value="$3" column="$4" awk '
	    NR == 1 { next }
	    NR == 2 { for (i = 1; i <= NF; i++) number[$i] = i; width = NF; next }
	    NF != width { exit 1 }
	    $number[ENVIRON["name"]] == ENVIRON["value"] { print $number[ENVIRON["column"]] }' ||
	    echo "a line with other columns"
}

note "a process that makes records, and one that sleeps, with a file whose name has a blank"
spawn_tick
tick=$spawned
spawn sleep 1000
sleeper=$spawned
wait_for 10 sleeps "$sleeper"
ktrace -t cu -f 'a b.out' -p "$tick"
ktrace -a -t cw -f 'a b.out' -p "$sleeper"
ktrace -t i -f other.out -p "$sleeper"
check_ok grows 'a b.out'
sysctl kern.ktrace_rs.procs kern.ktrace_rs.files
sysctl kern.ktrace_rs >all || fail "sysctl: status $?"
check_has all '^kern\.ktrace_rs\.stats\.procs: 2$'
check_lacks all '^kern\.ktrace_rs\.(procs|files):'
file="$PWD/a\\040b.out"
check_eq "$(column procs PID "$tick" COMMAND)" tick command
check_eq "$(column procs PID "$tick" FACILITIES)" cu "trace points"
check_eq "$(column procs PID "$tick" FILE)" "$file" file
check_eq "$(column procs PID "$sleeper" FACILITIES)" ciw "trace points"
check_eq "$(column procs PID "$sleeper" FILE)" "$PWD/other.out" file
check_eq "$(column files FILE "$file" PROCS)" 1 processes
check_eq "$(column files FILE "$PWD/other.out" PROCS)" 1 processes
ktrace -a -t i -f 'a b.out' -p "$sleeper"
check_eq "$(column files FILE "$file" PROCS)" 2 processes
check_eq "$(column files FILE "$PWD/other.out" PROCS)" "" "processes of a file that is closed"

note "numbers of a process at rest"
kill -STOP "$tick"
wait_for 10 rests 'a b.out'
size=$(stat -f %z 'a b.out')
check_eq "$(column files FILE "$file" BYTES)" "$size" "bytes of the file"
check_eq "$(column files FILE "$file" RECORDS)" "$(records 'a b.out')" "records of the file"
check_eq "$(column files FILE "$file" GATHERED)" 0 "gathered bytes"
check_ge "$(column files FILE "$file" COMMITS)" 1 writes
raw 'a b.out' >raw.out
made=$(awk -v pid="pid=$tick" '$2 == pid && match($0, / len=[0-9]+/) { n += 64 + substr($0, RSTART + 5, RLENGTH - 5) } END { print n + 0 }' raw.out)
check_eq "$(column procs PID "$tick" BYTES)" "$made" "bytes of the process"
check_eq "$(column procs PID "$tick" QUEUED) $(column procs PID "$tick" DROPPED)" "0 0" "queued and dropped"

note "who sees what"
as_nobody() {
	su -m nobody -c "sysctl -n kern.ktrace_rs.$1"
}
check_eq "$(as_nobody procs | awk -v pid="$tick" '$1 == pid { print $7 }')" - "file of a process of root"
check_eq "$(as_nobody files | awk 'NR == 3 { print $1, $6 }')" "2 -" "file of processes of root"
spawn_nobodys own.out
own=$spawned
check_eq "$(as_nobody procs | awk -v pid="$own" '$1 == pid { print $2, $3, $7 }')" "sleep c $PWD/own.out" "a process of nobody's"
jail -c path=/ name=ktrace_rs_listing persist || fail "jail"
at_exit "jail -r ktrace_rs_listing"
in_jail() {
	jexec ktrace_rs_listing sysctl -n "kern.ktrace_rs.$1"
}
check_eq "$(in_jail procs | sed 1,2d)" "" "processes outside of a jail"
check_eq "$(in_jail files | sed 1,2d)" "" "files of processes outside of a jail"
# sysctl(8) prints nothing for a variable that it may not read.
check_ge "$(as_nobody stats.records)" 1 "records"
for stat in stats.records stats.oldest stats.type.genio.records stats.files; do
	check_eq "$(in_jail $stat)" "" "$stat in a jail"
done
check_eq "$(in_jail policy)" batch "policy in a jail"
others=$(sysctl -n security.bsd.see_other_uids)
at_exit "sysctl -q security.bsd.see_other_uids=$others"
sysctl -q security.bsd.see_other_uids=0
check_eq "$(as_nobody procs | sed 1,2d | awk '{ print $1 }')" "$own" "processes that nobody sees"
check_eq "$(as_nobody files | sed 1,2d | awk '{ print $6 }')" "$PWD/own.out" "files of processes that nobody sees"
for stat in stats.records stats.oldest stats.type.genio.records stats.files; do
	check_eq "$(as_nobody $stat)" "" "$stat for a user who sees no others"
	check_ge "$(sysctl -n kern.ktrace_rs.$stat)" 0 "$stat for root"
done
sysctl -q security.bsd.see_other_uids="$others"
jail_proc=$(sysctl -n security.bsd.see_jail_proc)
at_exit "sysctl -q security.bsd.see_jail_proc=$jail_proc"
sysctl -q security.bsd.see_jail_proc=0
check_eq "$(as_nobody stats.records)" "" "records for a user who sees no jails"
sysctl -q security.bsd.see_jail_proc="$jail_proc"
kill "$own"

note "a file that is renamed, and removed: its name is the one that it was opened with"
mv 'a b.out' renamed.out
check_eq "$(column procs PID "$tick" FILE)" "$file" file
rm renamed.out
check_eq "$(column procs PID "$tick" FILE)" "$file" file
check_eq "$(column files FILE "$file" PROCS)" 2 processes
kill -CONT "$tick"
ktrace -C
wait_for 5 idle

note "a name with bytes that are no letters is written as vis(3) does it"
strange=$(printf 'tab\tback\\slash\nline \001 \377.out')
spawn_tick
ktrace -t u -f "$strange" -p "$spawned"
check_eq "$(column procs PID "$spawned" FILE)" "$(printf '%s' "$PWD/$strange" | vis -ow)" "file with strange bytes"
ktrace -C
wait_for 5 idle

note "two logins of a user share a file, two users do not"
for i in 1 2; do
	spawn sleep 1000
	su root -c "ktrace -a -t c -f $PWD/shared.out -p $spawned" || fail "ktrace as root: status $?"
done
check_eq "$(column files FILE "$PWD/shared.out" PROCS)" 2 "processes of one user"
chmod 666 shared.out
spawn_nobodys shared.out
check_eq "$(column files FILE "$PWD/shared.out" PROCS | sort | xargs)" "1 2" "processes of two users"
ktrace -C
wait_for 5 idle

note "what a process drops is counted for it"
little_room
dropped=$(ktrace_rs_stat dropped)
spawn "$KT_BIN/big_read" 4096 0
ktrace -t f -f drops.out -p "$spawned"
drops() {
	[ "$(ktrace_rs_stat dropped)" -gt "$dropped" ]
}
wait_for 60 drops
kill -STOP "$spawned"
wait_for 10 rests drops.out
check_eq "$(column procs PID "$spawned" DROPPED)" $(($(ktrace_rs_stat dropped) - dropped)) "dropped"
ktrace -C
wait_for 5 idle
module_unload
