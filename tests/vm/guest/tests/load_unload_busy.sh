#!/bin/sh
# Load and forced unload while every CPU forks, executes, exits, signals, and is traced and untraced: threads are interrupted
# inside the functions that are redirected, and inside the module. Nothing panics, the stock backend works after, no memory stays.
# timeout: 300
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
rounds=40

# Forks, executes, exits and signals for as long as "busy" exists.
churn() {
	while [ -e busy ]; do
		(/usr/bin/true)
		sh -c 'kill -CHLD $$; : | cat'
	done
}

# Starts traces with whichever backend there is, and ends them. A ktrace(2) during a switch may be refused.
trace() {
	while [ -e busy ]; do
		ktrace -i -t+w -f "trace.$1" sh -c '/usr/bin/true; /bin/ls / >/dev/null' >/dev/null 2>&1
		ktrace -C >/dev/null 2>&1
	done
}

: >busy
churn &
churn &
trace 1 &
trace 2 &
at_exit 'rm -f busy; wait'
loads=0 refused=0
for round in $(jot $rounds); do
	if kldload "$KT_MODULE" 2>/dev/null; then
		module_announce
		loads=$((loads + 1))
		sleep 0.2
		kldunload -f ktrace_rs || fail "kldunload -f: status $?"
	else
		# The stock backend was tracing.
		refused=$((refused + 1))
	fi
done
rm busy
wait
echo "$loads loads, $refused refused while the stock backend traced"
check_ge "$loads" 3 "loads"
check_lacks /dev/stdin ktrace_rs <<END
$(vmstat -m)
END
ktrace -f after true
check_ge "$(records after ^SYSCALL)" 3 "records of the stock backend after"
