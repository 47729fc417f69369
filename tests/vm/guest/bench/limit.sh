#!/bin/sh
# What nobody can do without who traces: the parts of a traced system call, each by itself.
# timeout: 200
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module
use_tmpfs

parts() {
	sample getppid 1 getppid
	sample clock 1 clock
	sample copy 1 copy
	# Shorter: so much is written that a disk may get full.
	sample write-ufs 1 -m 200 write out
	sample write-tmpfs 1 -m 200 write tmp/out
}
repeat parts
