#!/bin/sh
# Measures the cost of a record when many processes make records, each for a file of its own.
# instructions
# timeout: 900
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module
use_tmpfs

# Give the stock backend so many requests that it loses no record. A lost record costs no time.
pool=kern.ktrace.request_pool
at_exit "sysctl $pool=$(sysctl -n $pool) >/dev/null"
sysctl $pool=2000 || fail "$pool"
quiet

processes() {
	for n in 1 2 4 8 16 64 256; do
		sample getppid-tmpfs $n -n $n -o -t c -f tmp/out getppid
	done
}
compare processes

# The same load without a trace shows how flat the machine itself is.
untraced() {
	for n in 1 2 4 8 16 64 256; do
		sample getppid-untraced $n -n $n getppid
	done
}
repeat untraced
! logged 'Out of ktrace request objects' || fail "the stock backend has lost records"
