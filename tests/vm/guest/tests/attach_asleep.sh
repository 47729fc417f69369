#!/bin/sh
# Shows that a trace which begins while its process sleeps has only valid times and no kernel
# memory.
#
# From 15.1 on, the kernel reports on wakeup that the process went to sleep, at a time that it has
# not recorded. The record must have a time within the trace.
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load

for round in $(jot 5); do
	# Long enough for ktrace(1) to begin meanwhile on a busy host.
	sleep 3 &
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
