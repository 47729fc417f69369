#!/bin/sh
# Measures the time until a record is in the file when its process makes no further record: while it
# sleeps in the kernel, and while it stays in user mode.
# timeout: 400
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module

latency() {
	for load in late-sleep late-spin; do
		sample $load 1 -n 10 -t c -f out $load
	done
}
compare latency
