#!/bin/sh
# Shows that a trace file on NFS is whole under each policy, and what ends such a trace.
#
# A file that is removed on the server ends the trace with ESTALE. The program goes on.
# timeout: 180
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/disks.subr"
module_load
nfs rw

for policy in record return batch; do
	note "$policy"
	is_stock || sysctl -q kern.ktrace_rs.policy=$policy || fail "policy $policy"
	pace client/$policy.out -s
	sleep 1
	pace_whole
	cmp client/$policy.out server/$policy.out || fail "the server has another file"
done
is_stock || sysctl -q kern.ktrace_rs.policy=batch

note "the file is removed on the server"
quiet
pace client/stale.out -s
check_ok grows server/stale.out
rm server/stale.out
stale() {
	logged "ktrace write failed, errno 70, tracing stopped for pid $pace\$"
}
wait_for 60 stale
check_ok is_not_traced "$pace"
pace_asked
kill -USR2 "$pace"
wait "$pace" || fail "pace: status $?"
is_stock || wait_for 10 idle
