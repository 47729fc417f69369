#!/bin/sh
# Shows that a process at the limit of its queue has each loss marked in its trace and counted by
# type.
#
# Records in the file and counted drops add up to all records made. Memory stays within the limit,
# and another process loses nothing and is not slowed down.
# timeout: 120
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
need_module
module_load
pages=4096 limit=4096
# Records without room in a batch are queued.
sysctl kern.ktrace_rs.queue_limit=$limit kern.ktrace_rs.batch_bytes=8192

# dropped TYPE: prints the number of dropped records of the type.
dropped() {
	ktrace_rs_stat "type.$1.dropped"
}

note "every fault of one system call is found or counted"
# Losses occur sooner or later, however fast the queue is drained meanwhile.
lose() {
	fault=$(dropped fault) faultend=$(dropped faultend) all=$(ktrace_rs_stat dropped)
	check_ok "$KT_BIN/big_read" $pages 1 out
	[ "$(ktrace_rs_stat dropped)" -gt "$all" ]
}
wait_for 30 lose
fault=$(($(dropped fault) - fault)) faultend=$(($(dropped faultend) - faultend))
check_eq $(($(ktrace_rs_stat dropped) - all)) $((fault + faultend)) "drops of all types"
raw out >raw.out
cat raw.err
# 0x100000000000 is FRESH_PAGES. A record that follows a gap must have the drop mark.
awk -v pages=$pages -v fault="$fault" -v faultend="$faultend" '
    function number(hex,   i, n) {
	n = 0
	for (i = 3; i <= length(hex); i++) n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
	return n
    }
    { drop = / drop=1/; line = $0 }
    /^FAULT / {
	sub(/.* vaddr=/, "", line)
	page = (number(substr(line, 1, index(line, " ") - 1)) - number("0x100000000000")) / 4096
	if (page < 0 || page >= pages) { print "another page: " $0; bad = 1; exit }
	expected = !inside && (page == next_page || unknown)
	next_page = page; inside = 1; faults++; unknown = 0
    }
    # After a gap, the page of a FAULTEND is unknown.
    /^FAULTEND / { expected = inside; unknown = drop; inside = 0; next_page++; ends++ }
    / code=3 .*error=/ { expected = !inside && (next_page == pages || unknown) }
    /^FAULT|^FAULTEND| code=3 .*error=/ {
	if (!expected && !drop) { print "lost and not marked: " $0; bad = 1; exit }
    }
    drop { marks++ }
    END {
	if (bad) exit 1
	print faults + fault " FAULT made, " faults " found; " ends + faultend " FAULTEND made, " ends " found; " marks " marks"
	exit !(faults + fault == pages && ends + faultend == pages && marks > 0)
    }' raw.out || fail "found, lost and counted do not agree"
check_le "$(ktrace_rs_stat queued_max)" $limit "queued_max"

wait_for 10 idle
in_use=$(bytes_in_use)

note "what another process notices of that"
# They share no disk.
for directory in hogs paces; do
	mkdir $directory
	mount -t tmpfs tmpfs $directory || fail "mount: status $?"
	at_exit "umount $directory"
done
pace paces/out
# Both are the same load for the machine, but only one is at its limit.
spawn "$KT_BIN/big_read" $pages 0
untraced=$spawned
kill -STOP "$untraced"
spawn "$KT_BIN/big_read" $pages 0 hogs/out
hog=$spawned
kill -STOP "$hog"
watch_memory

# beside PID MOST: prints what a step costs pace while a process runs.
beside() {
	kill -CONT "$1"
	pace_cost "$2" || exit
	kill -STOP "$1"
}
all=$(ktrace_rs_stat dropped)
beside_untraced=1000000000 beside_hog=1000000000
for round in $(jot 12); do
	beside_untraced=$(beside "$untraced" "$beside_untraced") || fail "$beside_untraced"
	beside_hog=$(beside "$hog" "$beside_hog") || fail "$beside_hog"
done
memory_watched
check_ge "$(ktrace_rs_stat dropped)" $((all + 1)) "drops meanwhile"
echo "nanoseconds for a step: $beside_untraced beside the same load untraced, $beside_hog beside the process at its limit"
check_le $((2 * beside_hog)) $((3 * beside_untraced)) "twice the time for a step beside the process at its limit"
check_le "$(ktrace_rs_stat queued_max)" $limit "queued_max"
check_le "$memory_most" $((in_use + $(memory_bound 2 2))) "bytes of memory"
pace_whole
kill "$untraced" "$hog"
kill -CONT "$untraced" "$hog"
wait_for 10 idle
module_unload
