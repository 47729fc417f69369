#!/bin/sh
# Shows how much of a trace survives a panic under each policy.
#
# The system panics while processes make records on a disk. The next system checks that disk. Files
# that fsync(2) has flushed before are whole, and lose only the records that the policy allows. For
# a file without fsync(2), the test only reports what is left.
# timeout: 120
# full timeout: 120
# panics
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_only "policies"
[ -n "$KT_MODULE" ] || skip "no module given"
[ -c "$KT_KEPT_DISK" ] || fail "no disk that is kept"
policies="record return batch"
latency=50 milliseconds=$(scaled 1500 3000)

# crash POLICY: makes records, and makes the system panic.
crash() {
	module_load
	sysctl -q "kern.ktrace_rs.policy=$1" "kern.ktrace_rs.latency=$latency" || fail "sysctl"
	# Panic without a wait, a sync or a dump.
	for _setting in debug.debugger_on_panic=0 kern.panic_reboot_wait_time=0 kern.sync_on_panic=0; do
		sysctl -iq "$_setting" || fail "sysctl $_setting"
	done
	dumpon off || fail "dumpon"
	"$KT_BIN/doomed" "disk/$1" "$milliseconds"
	fail "no panic: status $?"
}

# survived FILE: sets $calls to the number of whole system calls in FILE, up to its end or the first
# bytes that are no record. $end says whether there are such bytes. UFS may write a file's size to
# the disk before its contents, and the rest is then zeros.
survived() {
	calls=0 end="no file"
	[ -e "$1" ] || return 0
	# 335 is utrace(2).
	"$KT_BIN/ktr_raw" -z "$1" 2>raw.err | awk '
	    / drop=1 / { wrong++ }
	    $1 == "SYSRET" && / code=335 error=0 / { calls++ }
	    $1 == "USER" { sub(/.* data=/, ""); wrong += $0 != users++ }
	    END { print calls + 0, users - calls, wrong + 0 }' >counts
	read -r calls _begun _wrong <counts
	check_eq "$_wrong" 0 "wrong numbers and drops in $1"
	check_le "$_begun" 1 "calls that have not returned in $1"
	end=$(sed 's/^ktr_raw: //; s/^records .*/whole/' raw.err)
	case $end in
	"record at byte "*)
		_at=${end#record at byte }
		[ -n "$(tail -c +$((${_at%%:*} + 1)) "$1" | tr -d '\0' | head -c 1)" ] || end=zeros ;;
	esac
}

# lost FILE COLUMN: compares FILE with the calls made. Sets $lost to the number of $made calls that
# are lost, and $age to the microseconds before the end at which the first of them may have been
# made.
lost() {
	survived "$1"
	awk -v column="$2" -v calls="$calls" '
	    { made = $column }
	    NR == 1 || made <= calls { before = $1 }
	    END { lost = made > calls ? made - calls : 0; print made, lost, lost ? before : 0 }' \
	    "${1%/*}/made" >counts
	read -r made lost age <counts
	echo "$1: $made calls, $lost lost, of the last $((age / 1000)) ms; $(stat -f %z "$1") bytes, $end"
	check_ge "$made" 100 "calls made"
}

if [ "$KT_DOWNS" -eq 0 ]; then
	# Use soft updates, as default installations do. fsync(2) of a file does not flush the name
	# of a new directory.
	ufs "$KT_KEPT_DISK" disk -U
	(cd disk && mkdir $policies) || fail "mkdir"
	umount disk || fail "umount"
else
	mkdir disk
	at_exit "! is_mounted disk || umount -f $PWD/disk"
	fsck_ffs -y "$KT_KEPT_DISK" >"$KT_OUT/fsck.out" 2>&1 || fail "fsck: status $?"
fi
mount "$KT_KEPT_DISK" disk || fail "mount"

set -- $policies
shift "$KT_DOWNS"
[ $# -eq 0 ] || crash "$1"

for policy in $policies; do
	for file in slow:2 fast:3; do
		lost "disk/$policy/${file%:*}" "${file#*:}"
		case $end in
		whole | zeros) ;;
		*)	fail "end of $policy/${file%:*}: $end" ;;
		esac
		case $policy in
		batch)	# Twice: the machine may have been at something else for a while.
			check_le "$age" $((2 * 1000 * latency)) "microseconds" ;;
		*)	check_eq "$lost" 0 "calls lost under $policy" ;;
		esac
	done
	lost "disk/$policy/left" 4
done
