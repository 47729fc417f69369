#!/bin/sh
# Measures the module's cost for untraced processes. Lines of backend stock are without the module.
# instructions
# timeout: 400
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/bench/bench.subr"
need_module

untraced() {
	sample untraced-getppid 1 getppid
	sample untraced-open 1 open
	# Longer, because there are only some hundred forks per second.
	sample untraced-fork 1 -m 2000 fork
}
compare untraced
