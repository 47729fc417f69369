#!/bin/sh
# What the module costs those who are not traced: the lines of backend stock are without it.
# instructions
# timeout: 400
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module

untraced() {
	for load in getppid open fork; do
		sample untraced-$load 1 $load
	done
}
compare untraced
