#!/bin/sh
# Shows that processes traced to different files share no lock, where those of the stock backend do.
#
# One process for each CPU makes system calls all the time. dtrace(1) adds up the time that they spin
# or sleep for locks of any kind. Under the module, it is less than a tenth of what it is under the
# stock backend.
# timeout: 240
# full timeout: 600
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

command -v dtrace >/dev/null || skip "the image has no dtrace(1)"
kldload -n profile sdt 2>/dev/null || skip "no modules for dtrace(1)"
at_exit "module_unload; kldunload sdt profile"
cpus=$(sysctl -n hw.ncpu)
[ "$cpus" -gt 1 ] || skip "one CPU"
seconds=$(scaled 4 20)
mkdir files
mount -t tmpfs tmpfs files || fail "mount: status $?"
at_exit "umount files"

# waited: sets $waited to the tenths of a percent of their time for which the processes wait for locks.
waited() {
	pids=
	for i in $(jot "$cpus"); do
		spawn ktrace -t cu -f "files/$i" "$KT_BIN/pace" "made.$i" >"said.$i"
		pids="$pids $spawned"
	done
	for i in $(jot "$cpus"); do
		wait_for 30 test -s "said.$i"
	done
	dtrace -x nolibs -q -n '
	    lockstat:::adaptive-spin, lockstat:::adaptive-block, lockstat:::rw-spin, lockstat:::rw-block,
	    lockstat:::sx-spin, lockstat:::sx-block, lockstat:::lockmgr-block
	    /execname == "pace"/ { @ns[probename] = sum(arg1); }
	    tick-'"$seconds"'s { exit(0); }
	    END { printa("%s %@d\n", @ns); }' >locks 2>err || fail "dtrace: status $?: $(cat err)"
	cat locks
	kill -USR2 $pids
	for i in $(jot "$cpus"); do
		wait "$(echo $pids | cut -d ' ' -f "$i")" || fail "pace: status $?"
		! module_is_loaded || "$KT_BIN/ktr_audit" -m "made.$i" "files/$i" >audit.out || fail "$(cat audit.out)"
	done
	rm -f files/*
	waited=$(awk -v time=$((cpus * seconds)) '{ ns += $2 } END { printf "%d", ns / time / 1000000 }' locks)
	note "$1: waits for locks take $waited thousandths of the time of $cpus processes"
}

waited "stock"
stock=$waited
check_ge "$stock" 100 "thousandths of the time under the stock backend"
module_load
for policy in batch record; do
	sysctl -q kern.ktrace_rs.policy=$policy || fail "policy $policy"
	waited "$policy"
	check_le $((10 * waited)) "$stock" "ten times the thousandths of the time under $policy"
done
module_unload
