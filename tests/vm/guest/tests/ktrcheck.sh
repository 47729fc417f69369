#!/bin/sh
# Shows that ktrcheck(1) on FreeBSD accepts traces of both backends, and names the place of damage.
#
# A trace that is cut off or lacks bytes is not whole. The program stays within the 100 megabytes
# that ktrcheck(1) promises.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
ktrcheck=$KT_BIN/ktrcheck
ulimit -v $((96 * 1024)) || fail "ulimit"

work() {
	ktrace -i -t+ -f "$1" sh -c 'ls -l / >/dev/null; sleep 0.1; kill -0 $$; /usr/bin/true' || fail "ktrace: status $?"
}
with_stock work stock.out
with_module work module.out
wait_for 5 idle
for file in stock.out module.out; do
	"$ktrcheck" "$file" >said || fail "$file: status $?: $(cat said)"
	check_has said "^$file: records $("$KT_BIN/ktr_raw" "$file" 2>raw.err | grep -c .) processes [0-9]+ threads [0-9]+: whole\$"
done
"$ktrcheck" -o module.out >said || fail "module.out is not in the order of its times: $(cat said)"

# Context switch records are also in order with all others, as long as none had to be queued.
in_order() {
	module_unload
	module_load
	sysctl -q kern.ktrace_rs.batch_bytes=1048576 || fail "batch_bytes"
	rm -f switches.out
	ktrace -i -t+wf -f switches.out "$KT_BIN/crowd" pingpong 4 500 made || fail "crowd: status $?"
	wait_for 5 idle
	# Each thread's records are in order in any case.
	"$ktrcheck" switches.out >said || fail "switches.out: $(cat said)"
	[ "$(ktrace_rs_stat queued_max)" -eq 0 ]
}
wait_for 60 in_order
check_ge "$(records switches.out '^CSW ')" 1000 "context switches"
"$ktrcheck" -o switches.out >said || fail "switches.out is not in the order of its times: $(cat said)"

head -c $(($(stat -f %z module.out) - 7)) module.out >cut.out
check_status 1 "$ktrcheck" cut.out >said
check_has said '^cut.out: byte [0-9]+: the file ends inside this record$'
# The second record lacks its first eight bytes: length, type and version. (In other records, the
# rest of the header could look like a header.)
first=$((64 + $(raw module.out | awk 'NR == 1 { match($0, / len=[0-9]+/); print substr($0, RSTART + 5, RLENGTH - 5) }')))
{
	head -c $first module.out
	tail -c +$((first + 9)) module.out
} >lacks.out
check_status 1 "$ktrcheck" lacks.out >said
cat said
check_has said "^lacks.out: byte $first: "
# A progress bar appears on a terminal, and nowhere else.
TERM=xterm script -q terminal.out "$ktrcheck" module.out </dev/null >/dev/null || fail "status $?"
check_has terminal.out 'module\.out .*[0-9] ?[KM]?i?B/[0-9.]+ ?[KM]?i?B'
"$ktrcheck" module.out 2>error >said || fail "status $?"
check_eq "$(cat error)" "" "standard error where it is no terminal"
check_status 2 "$ktrcheck" none.out 2>said
: >empty.out
check_status 1 "$ktrcheck" empty.out >said
module_unload
