#!/bin/sh
# 200 children under -i: every one has its PROCCTOR first, all its calls, its PROCDTOR last;
# afterwards the module holds nothing.
# timeout: 180
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
children=200 calls=10

# Whatever is allocated once is.
ktrace -i -t+ -f out "$KT_BIN/crowd" call 1 1
wait_for 5 idle
before=$(in_use)

ktrace -i -t+ -f out "$KT_BIN/crowd" call $children $calls || fail "crowd: status $?"
raw out >raw.out
cat raw.err
awk -v calls=$calls -v children=$children '
    { last[$2] = $1; if (!($2 in first)) { first[$2] = $1; comm[$2] = $5 } }
    / code=39 / { n[$2 " " $1]++ }
    END {
	for (pid in first) {
		if (first[pid] != "PROCCTOR" || last[pid] != "PROCDTOR") {
			print pid ": from " first[pid] " to " last[pid]
			bad = 1
		}
		if (n[pid " SYSCALL"] == calls && n[pid " SYSRET"] == calls) complete++
	}
	if (complete != children) { print complete " children are complete, want " children; bad = 1 }
	exit bad
    }' raw.out || fail "records of the children"
check_eq "$(grep -c ' drop=1' raw.out)" 0 "drops"
wait_for 5 idle
check_eq "$(in_use)" "$before" "pieces of memory in use"
