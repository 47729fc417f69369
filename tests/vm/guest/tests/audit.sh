#!/bin/sh
# Shows that ktr_audit finds every fault that a trace file can have, and ktr_raw a time that goes back
# in a thread. The other tests rely on them.
#
# For each type, a record is removed, doubled, moved, made older, marked KTR_DROP, cut off, or made the
# last one.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
strict=-z
! is_stock || strict=

# in_vain TYPE PATTERN FAULT...: puts each fault into the first record of the type that matches, and
# fails unless ktr_audit finds all of them.
in_vain() {
	type=$1
	which=$(grep "^$type " raw.out | grep -n -m 1 -e "$2" | cut -d : -f 1)
	shift 2
	for fault; do
		check_ok "$KT_BIN/ktr_damage" "$fault" "$type" $((which - 1)) out damaged
		! said=$("$KT_BIN/ktr_audit" -m made damaged 2>&1) || fail "$type $fault is not found"
		line=$(printf '%s\n' "$said" | grep -E -m 1 'violation at|record at byte [0-9]*: .*: cut off') ||
		    fail "$type $fault: $said"
		echo "$type $fault: $line"
		[ $fault != back ] || goes_back "$line"
		found=$((found + 1))
	done
}

# goes_back VIOLATION: fails unless it is the time that ktr_audit has found, and ktr_raw finds it, too.
goes_back() {
	_byte=$(expr "$1" : 'violation at byte \([0-9]*\), .* is older than') || fail "$1"
	check_fails "byte $_byte: $type: older than the previous one of its thread" "$KT_BIN/ktr_raw" -q $strict damaged
}

# trace LOAD COUNT: traces the load to out.
trace() {
	rm -f out
	ktrace -i -t +wf -f out "$KT_BIN/crowd" "$1" 1 "$2" made || fail "crowd $1: status $?"
	"$KT_BIN/ktr_audit" -m made out || fail "a good file"
	raw out >raw.out
}

found=0
trace signals 5
child=$(awk '{ print $1; exit }' made)
for type in SYSCALL SYSRET USER CSW PSIG PROCCTOR; do
	in_vain $type " pid=$child " remove double swap drop cut end
done
# No other record of its thread follows.
in_vain PROCDTOR " pid=$child " remove double drop cut end
# PROCCTOR is the first record of its thread. ktr_raw lets the stock backend's CSW be older.
set -- SYSCALL SYSRET USER PSIG PROCDTOR
is_stock || set -- "$@" CSW
for type; do
	in_vain $type " pid=$child " back
done
trace pingpong 5
in_vain GENIO data=ktrstep remove double swap back drop cut end
trace faults 5
for type in FAULT FAULTEND; do
	in_vain $type '' remove double swap back drop cut end
done
check_eq $found $((6 * 6 + 5 + $# + 3 * 7)) "faults found"
# The counts that the program reports are compared in both directions.
awk '$3 == "USER" { $4++ } { print }' made >more
check_status 1 "$KT_BIN/ktr_audit" -m more out
awk '$3 == "USER" { $4-- } { print }' made >fewer
check_status 1 "$KT_BIN/ktr_audit" -m fewer out
