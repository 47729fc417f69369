#!/bin/sh
# Measures the module's peak memory by the number of traced processes, and checks its limit.
# timeout: 300
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
. "$KT/bench/bench.subr"
need_module

memory() {
	# Make the allocations that happen only once.
	ktrace -i -t+ -f out "$KT_BIN/crowd" call 1 1
	wait_for 10 idle
	_in_use=$(bytes_in_use)
	for n in 1 4 16 64 256; do
		watch_memory
		# Repeat until memory has been sampled a few times, even on a slow machine. This is
		# not on tmpfs: 256 processes fill one before all of them have been told to end.
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
