#!/bin/sh
# The module's memory at the most, by processes that are traced at once, and what it may be.
# timeout: 300
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
. "$KT/bench/bench.subr"
need_module

memory() {
	# Whatever is allocated once is.
	ktrace -i -t+ -f out "$KT_BIN/crowd" call 1 1
	wait_for 10 idle
	_in_use=$(bytes_in_use)
	for n in 1 4 16 64 256; do
		watch_memory
		# As often as it takes to be seen some times, on a slow machine, too. Not on tmpfs: 256 processes
		# fill one before they are all told to end.
		until [ "$(wc -l <memory)" -ge 5 ]; do
			check_ok "$KT_BIN/bench" -m 1000 -n $n -t cw -f out getppid
		done
		memory_watched
		check_ge $((memory_most - _in_use)) $n "bytes of memory for $n processes"
		figure memory $n $((memory_most - _in_use)) 0
		figure memory-bound $n "$(memory_bound $n $n)" 0
	done
}
with_policies memory
module_unload
