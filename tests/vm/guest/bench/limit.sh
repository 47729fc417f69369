#!/bin/sh
# Measures each part of a traced system call by itself. No tracer can be faster than these parts.
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
	# Shorter, because this load writes so much that a disk may fill up.
	sample write-ufs 1 -m 200 write out
	sample write-tmpfs 1 -m 200 write tmp/out
}
repeat parts
