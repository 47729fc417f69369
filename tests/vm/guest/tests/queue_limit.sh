#!/bin/sh
# Shows that kern.ktrace_rs.queue_limit bounds the queue of a process.
#
# A bad value is refused without any change. If the limit causes a loss, the next record is marked
# KTR_DROP. Every record is either in the file or counted as dropped, by type. Another process loses
# nothing.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load
limit=kern.ktrace_rs.queue_limit
pages=4096

default=$(sysctl -n $limit)
check_ge "$default" 1024 "default"
for bad in -1 0 1 4095 16777217 99999999999999999999 x ''; do
	# sysctl(8) itself refuses values that are no number.
	check_fails 'Invalid argument|invalid .*integer|empty' sysctl "$limit=$bad"
	check_eq "$(sysctl -n $limit)" "$default" "$limit after the refusal of '$bad'"
done

# counted TYPE: prints the records and drops of the type so far.
counted() {
	echo "$(ktrace_rs_stat "type.$1.records") $(ktrace_rs_stat "type.$1.dropped")"
}

# Find the smallest limit that is accepted.
small=
for bytes in 256 1024 4096 16384 65536; do
	sysctl $limit=$bytes >/dev/null 2>&1 && small=$bytes && break
done
[ -n "$small" ] || fail "no limit of up to 64 KiB is accepted"
check_eq "$(sysctl -n $limit)" "$small" "$limit"
# Records without room in a batch are queued.
batch=$(sysctl -n kern.ktrace_rs.batch_bytes)
sysctl -q kern.ktrace_rs.batch_bytes=8192

pace other.out -s
# Losses of both types occur sooner or later, however fast the queue is drained meanwhile.
lose() {
	dropped=$(ktrace_rs_stat dropped)
	for type in fault faultend; do
		eval "${type}_before='$(counted $type)'"
	done
	ktrace -t f -f out "$KT_BIN/big_read" $pages || fail "big_read: status $?"
	for type in fault faultend; do
		eval "set -- \$${type}_before"
		_drops=$2
		set -- $(counted $type)
		[ "$2" -gt "$_drops" ] || return 1
	done
}
wait_for 60 lose
raw out >raw.out
cat raw.err
check_ge "$(grep -c ' drop=1' raw.out)" 1 "records marked KTR_DROP"
lost=0
for type in fault faultend; do
	eval "set -- \$${type}_before"
	records=$1 drops=$2
	set -- $(counted $type)
	records=$(($1 - records)) drops=$(($2 - drops))
	name=$(echo $type | tr a-z A-Z)
	found=$(grep -c "^$name " raw.out)
	echo "$name: $found found, $records counted, $drops dropped"
	check_eq "$found" "$records" "$name records in the file and counted"
	check_ge "$drops" 1 "$name drops"
	# The program takes some more faults than those of its buffer.
	check_ge $((records + drops)) $pages "$name records made"
	check_le $((records + drops)) $((pages + 1000)) "$name records made"
	lost=$((lost + drops))
done
check_eq $(($(ktrace_rs_stat dropped) - dropped)) $lost "kern.ktrace_rs.stats.dropped"
check_ok grows other.out
pace_whole

# With enough room, nothing is lost.
if sysctl $limit=$((pages * 1024)) >/dev/null 2>&1; then
	dropped=$(ktrace_rs_stat dropped)
	ktrace -t f -f room.out "$KT_BIN/big_read" $pages || fail "big_read: status $?"
	check_ge "$(records room.out '^FAULT ')" $pages "FAULT records"
	check_eq "$(grep -c ' drop=1' raw.out)" 0 "drops with enough room"
	check_eq "$(ktrace_rs_stat dropped)" "$dropped" "kern.ktrace_rs.stats.dropped"
fi
sysctl $limit="$default" >/dev/null
wait_for 5 idle
module_unload

note "as a loader tunable"
at_exit "kenv -qu $limit"
kenv $limit=65536 >/dev/null
module_load
check_eq "$(sysctl -n $limit)" 65536 "$limit from the tunable"
module_unload
kenv $limit=17 >/dev/null
module_load
check_eq "$(sysctl -n $limit)" "$default" "$limit where the tunable is out of range"
module_unload
