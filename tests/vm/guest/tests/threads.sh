#!/bin/sh
# Eight threads of one process under -t+: no record is missing, each thread's are in the order
# in which it made them, and its time never goes backwards.
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
threads=8 times=500

ktrace -t cuw -f out "$KT_BIN/crowd" threads $threads $times || fail "crowd: status $?"
raw out >raw.out
cat raw.err
grep -q ' backwards-in-thread 0$' raw.err || fail "time goes backwards"
check_eq "$(grep -c ' drop=1' raw.out)" 0 "drops"
# Each thread: SYSCALL and SYSRET of getppid, of getuid, SYSCALL of utrace, USER, SYSRET, and
# from the start again.
grep -Ev '^CSW' raw.out | awk -v times=$times -v threads=$threads '
    BEGIN { split("SYSCALL 39,SYSRET 39,SYSCALL 24,SYSRET 24,SYSCALL 335,USER,SYSRET 335", want, ",") }
    {
	code = ""
	for (i = 9; i <= NF; i++)
		if ($i ~ /^code=/) code = substr($i, 6)
	what = $1 (code == "" ? "" : " " code)
	if ($1 != "USER" && code != 39 && code != 24 && code != 335) next
	if (what != want[step[$3] % 7 + 1]) {
		print $3 ": record " step[$3] " is " what ", want " want[step[$3] % 7 + 1]
		bad = 1
		exit
	}
	step[$3]++
    }
    END {
	for (t in step)
		if (step[t] != 7 * times) { print t ": " step[t] " records, want " 7 * times; bad = 1 } else good++
	if (good != threads) { print good " threads, want " threads; bad = 1 }
	exit bad
    }' || fail "order of records"
wait_for 5 idle
