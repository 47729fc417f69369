#!/bin/sh
# How long it takes until a record is in the file, whose process makes no other after it: as it sleeps
# in the kernel, or as it stays in user mode.
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
