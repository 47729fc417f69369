#!/bin/sh
# Shows that twenty loads and unloads, with tracing in between, leave nothing of the module behind.
#
# At the end, the stock backend works. No memory stays allocated. dmesg(8) has one line of the
# module for each load and unload, and no other.
# timeout: 180
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

quiet
for i in $(jot 20); do
	kldload "$KT_MODULE" || fail "load $i"
	version=$(sysctl -n kern.ktrace_rs.version)
	ktrace -t+ -f out true || fail "ktrace after load $i"
	kldunload ktrace_rs || fail "unload $i"
done
check_ge "$(records out)" 10 "records of the last"
! module_is_loaded || fail "still loaded"
for i in $(jot 20); do
	echo "ktrace_rs: version $version traces from now on"
	echo "ktrace_rs: unloaded: the kernel traces by itself again"
done >said
dmesg | grep -i ktrace | diff said - || fail "dmesg says something else"
check_eq "$(in_use)" 0 "pieces of memory left"
! logged "leaked memory" || fail "memory left"
! sysctl -n kern.ktrace_rs 2>/dev/null | grep -q . || fail "sysctls left"

ktrace -i -t+ -f stock.out sh -c 'ls -l / | wc -l' || fail "the stock backend does not work"
kdump -f stock.out | grep -q 'NAMI  "/"' || fail "no record by the stock backend"
