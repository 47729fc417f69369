#!/bin/sh
# A trace that begins while its process sleeps. From 15.1 on the kernel tells, when that wakes up, that it went to
# sleep, at a time that it has not taken. The record has a time of the trace, and nothing of the kernel's memory.
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load

for round in $(jot 10); do
	sleep 1 &
	pid=$!
	wait_for 5 sleeps $pid
	since=$(date +%s)
	ktrace -t w -f out -p $pid || fail "ktrace: status $?"
	wait $pid || fail "sleep: status $?"
	until=$(date +%s)
	raw -k out >raw.out
	awk -v since="$since" -v until="$until" '
	    { time = substr($6, 6) + 0 }
	    time < since || time >= until + 1 { print; bad = 1 }
	    END { exit bad }' raw.out || fail "a time outside of $since to $until"
	check_eq "$(grep -c '^CSW .* out=0 user=0 wmesg=nanslp' raw.out)" 1 "resumes"
done
wait_for 5 idle
module_unload
