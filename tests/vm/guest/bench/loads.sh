#!/bin/sh
# Measures the cost of tracing by load and by place of the trace file. processes.sh measures one
# process, and two with files of their own, on tmpfs.
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
	# This trace also grows by the data.
	sample read-ufs 1 -m 250 -t ci -f out read
	sample shared-ufs 2 -n 2 -t c -f out getppid
	sample threads-ufs 4 -n 4 -t c -f out threads
	sample pingpong-tmpfs 1 -t cw -f tmp/out pingpong
}
compare loads
