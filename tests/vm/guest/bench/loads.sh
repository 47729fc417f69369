#!/bin/sh
# What tracing costs, by what is traced and where the trace file is. (One process, and two with files
# of their own, on tmpfs: see processes.sh.)
# instructions
# timeout: 600
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module
use_tmpfs

loads() {
	sample getppid-ufs 1 -t c -f out getppid
	sample open-ufs 1 -t cnt -f out open
	# A trace that grows by the data, too.
	sample read-ufs 1 -m 250 -t ci -f out read
	sample shared-ufs 2 -n 2 -t c -f out getppid
	sample threads-ufs 4 -n 4 -t c -f out threads
	sample pingpong-tmpfs 1 -t cw -f tmp/out pingpong
}
compare loads
