#!/bin/sh
# Shows the same as lifetimes.sh while trace files are removed, truncated and renamed.
#
# Files are also renamed over one another. Processes of three users trace one another, and to the
# same files.
# timeout: 300
# full timeout: 5400
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/churn.subr"
need_module
churn_here
rounds=$(scaled 5 500) processes=$(scaled 12 50)

# Twice as many: see lifetimes.sh.
churn_start -m -n $((2 * processes)) -u "$(id -u nobody)" -u "$(id -u tests)"
churn_rounds 3
churn_stop
usage before.usage

churn_start -m -n "$processes" -u "$(id -u nobody)" -u "$(id -u tests)"
churn_rounds "$rounds"
churn_stop
check_ge "$(awk '$1 == "meddled" { print $2 }' counts)" $((rounds / 2)) "removed, truncated and renamed"
check_ge "$(awk '$1 == "refused" { print $2 }' counts)" 1 "refused"
check_no_growth before.usage $((rounds - 1))
