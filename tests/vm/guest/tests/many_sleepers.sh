#!/bin/sh
# 300 processes, each nanosleep(2) of a millisecond 200 times, under -t cw into one file: not
# one SYSCALL or SYSRET record is missing, and nothing is dropped. (The stock backend loses
# about half of them.)
# timeout: 240
. "$KT/lib.sh"
. "$KT/tests/common.subr"
SYS_nanosleep=240
processes=300 times=200

# total TYPE, complete TYPE: how many records, and how many processes with one for each of the
# calls.
total() {
	awk -v type="$1" '$2 == type { n += $3 } END { print n + 0 }' counts
}
complete() {
	awk -v type="$1" -v want=$times '$2 == type && $3 == want { n++ } END { print n + 0 }' counts
}

if ! is_stock; then
	module_load
	before=$(ktrace_rs_stat dropped)
fi
ktrace -i -t cw -f out "$KT_BIN/crowd" sleep $processes $times || fail "crowd: status $?"
raw -c -n $SYS_nanosleep out >counts
cat raw.err
echo "$(total SYSCALL) calls, $(total SYSRET) returns, of $((processes * times)) each, $(total CSW) switches"
! is_stock || skip "for information only: the stock backend"
for type in SYSCALL SYSRET; do
	check_eq "$(total $type)" $((processes * times)) "nanosleep $type records"
	check_eq "$(complete $type)" $processes "processes with every $type record"
done
# Each time it slept, out and in.
check_ge "$(total CSW)" $((2 * processes * times)) "switches"
grep -q ' drops 0 ' raw.err || fail "records marked KTR_DROP"
check_eq "$(ktrace_rs_stat dropped)" "$before" "kern.ktrace_rs.stats.dropped"
wait_for 5 idle
module_unload
