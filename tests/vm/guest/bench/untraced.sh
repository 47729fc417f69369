#!/bin/sh
# What the module costs those who are not traced: the lines of backend stock are without it.
# instructions
# timeout: 400
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module

untraced() {
	sample untraced-getppid 1 getppid
	sample untraced-open 1 open
	# Longer: there are some hundred a second.
	sample untraced-fork 1 -m 2000 fork
}
compare untraced
