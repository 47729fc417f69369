#!/bin/sh
# Shows that repeated loads and forced unloads under load neither panic, damage a trace nor leak.
#
# Processes fork, execute, exit, signal and stop one another, and begin and end one another's
# traces. Threads are thus interrupted inside the redirected functions and inside the module. Every
# trace file is whole, and no kernel resource grows by one for each load.
# timeout: 400
# full timeout: 5400
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/churn.subr"
need_module
churn_here
rounds=$(scaled 8 500) processes=$(scaled 12 50)

note "once, for what is allocated once"
# Twice as many: the kernel keeps structures for the largest number of processes so far.
churn_start -n $((2 * processes))
churn_rounds 3
churn_stop
usage before.usage

note "$rounds loads"
churn_start -n "$processes"
begun=$(date +%s)
churn_rounds "$rounds"
echo "$(($(date +%s) - begun)) s"
churn_stop
check_ge "$(awk '$1 == "forks" { print $2 }' counts)" $((10 * rounds)) "forks"
check_ge "$(awk '$1 == "sets" { print $2 }' counts)" $((15 * rounds)) "traces begun"
for what in execs signals stops kills clears clearfiles; do
	check_ge "$(awk -v what=$what '$1 == what { print $2 }' counts)" 1 "$what"
done
check_no_growth before.usage $((rounds - 1))

ktrace -f after true
check_ge "$(records after ^SYSCALL)" 3 "records of the stock backend after"
module_load
ktrace -f after true
check_ge "$(records after ^SYSCALL)" 3 "records of the module after"
wait_for 5 idle
module_unload
