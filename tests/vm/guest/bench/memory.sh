#!/bin/sh
# The module's memory at the most, by processes that are traced at once, and what it may be.
# timeout: 300
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
. "$KT/bench/bench.subr"
need_module
use_tmpfs

memory() {
	# Whatever is allocated once is.
	ktrace -i -t+ -f tmp/out "$KT_BIN/crowd" call 1 1
	wait_for 10 idle
	_in_use=$(bytes_in_use)
	for n in 1 4 16 64 256; do
		watch_memory
		check_ok "$KT_BIN/bench" -m 1000 -n $n -t cw -f tmp/out getppid
		memory_watched
		figure memory $n $((memory_most - _in_use)) 0
		figure memory-bound $n "$(memory_bound $n $n)" 0
	done
}
with_policies memory
module_unload
