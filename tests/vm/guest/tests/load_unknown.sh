#!/bin/sh
# Shows that a kernel whose backend has an unknown function is refused with one line that names it.
#
# Nothing changes. A test build of the module does not know ktrsysctl().
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

quiet
check_fails 'error occurred while loading' kldload "$KT/ktrace_rs_missing.ko"
check_eq "$(dmesg | grep -c '^ktrace_rs: ')" 1 "lines in dmesg"
logged '^ktrace_rs: .*ktrsysctl' || fail "it does not name the function: $(dmesg)"
logged 'MOD_LOAD .*ktrace_rs.* error 45$' || fail "not EOPNOTSUPP"
! kldstat -q -n ktrace_rs_missing.ko || fail "it is loaded"
! sysctl -n kern.ktrace_rs.version 2>/dev/null || fail "its sysctls are there"
check_eq "$(in_use)" 0 "pieces of memory left"
for backend in stock module stock; do
	with_$backend ktrace -t cy -f out sysctl kern.ostype || fail "ktrace with the $backend backend"
	check_ge "$(records out '^SYSCTL .* data=kern.ostype')" 1 "records of the $backend backend"
	check_ge "$(records out '^SYSCALL ')" 4 "records of the $backend backend"
done
