#!/bin/sh
# Shows that kdump prints every record type as expected, header and payload, field by field.
#
# One program for each type prints what it expects (progs/rec.h). The columns of kdump check the
# header: pid, tid, command, CPU, type, and the ABI of the PROCCTOR before it. The record's time is
# compared with the clock before and after. ktr_raw checks the rest.
# timeout: 180
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

# comparable PID: filters the output of kdump for the program PID.
#
# It removes the program's own ktrace(2) that ends the trace. The thread ids of other processes are
# masked, because they are not known beforehand.
comparable() {
	awk -v main="$1" '
	    /(CALL|RET|CAP)  *F64  (ktrace\(|ktrace 0|system call not allowed: ktrace)/ { next }
	    /^ *[0-9]+ +[0-9]+ [^ ]+ +[0-9]+ [A-Z]/ && $1 != main { sub($2, "     0") }
	    { print }'
}

check_type() {
	check_ok "$KT_BIN/rec_$1"
	check_ok "$KT_BIN/ktr_raw" $strict ktrace.out >raw
	read -r _type pid _rest <raw
	kdump -H -A -c -f ktrace.out | comparable "${pid#pid=}" >got
	if [ -e only ]; then
		mv got all
		grep -E -f only all >got
	fi
	grep -v 'F64  ktrace 0$' expect >want
	cmp -s want got || {
		diff want got
		fail "$1: kdump printed other records (>) than expected (<)"
	}
	read -r since until <times
	awk -v since="$since" -v until="$until" '
	    { sub(/^time=/, "", $6) }
	    $6 "" < since "" || $6 "" > until "" || / drop=1/ { print; bad = 1 }
	    END { exit bad }' raw || fail "$1: a time outside of $since to $until, or a drop"
}

failed=
strict=-z
! is_stock || strict=
types="syscall sysret namei genio psig csw user struct sysctl procctor procdtor capfail fault faultend struct_array"
# The program for args covers two types, KTR_ARGS and KTR_ENVS.
! of_15 || types="$types args exterr"
for type in $types; do
	note "$type"
	mkdir "$type"
	(cd "$type" && check_type "$type") || failed="$failed $type"
done
[ -z "$failed" ] || fail "records of:$failed"

# count TYPE PATTERN: counts records that kdump does not print or the program does not know.
count() {
	grep -Ec "$2" "$1/raw"
}
check_eq "$(count csw 'CSW .* out=1 user=1 wmesg=ast_sch$')" "$(count csw 'CSW .* out=0 user=1 wmesg=ast_sch$')" "preemptions out and in"
check_ge "$(count csw 'CSW .* user=1 wmesg=ast_sch$')" 2 "preemptions"
check_eq "$(count procctor '^PROCCTOR .* len=4 drop=0 sv_flags=0x')" 3 "PROCCTOR of itself, its child, and that after exec"
check_eq "$(head -1 procctor/raw | cut -d ' ' -f 1)" PROCCTOR "first record"
check_eq "$(count procdtor '^PROCDTOR .* len=0 drop=0$')" 3 "PROCDTOR of three children"
for child in $(sed -n 's/^PROCDTOR pid=\([0-9]*\) .*/\1/p' procdtor/raw); do
	check_eq "$(grep " pid=$child " procdtor/raw | tail -1 | cut -d ' ' -f 1)" PROCDTOR "last record of $child"
	check_eq "$(grep " pid=$child " procdtor/raw | head -1 | cut -d ' ' -f 1)" PROCCTOR "first record of $child"
done
check_eq "$(count faultend '^FAULT ')" "$(count faultend '^FAULTEND ')" "FAULT and FAULTEND"
kdump -f faultend/ktrace.out | grep -q 'PRET  KERN_SUCCESS' || fail "no successful fault"
