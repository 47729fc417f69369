#!/bin/sh
# Measures the cost of a record at the end of a file that already has a given size. The earlier part
# is a hole, because the disk has no room for it.
# instructions
# timeout: 600
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module

sizes() {
	for bytes in 1024 32768 1048576 33554432 1073741824; do
		sample size-ufs $bytes -z $bytes -t c -f out getppid
	done
}
compare sizes
