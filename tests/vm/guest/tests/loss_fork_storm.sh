#!/bin/sh
# Shows that many short processes lose no record from their first to their last, and their memory is
# freed.
#
# The stock backend loses none of them either. The load is for the beginning and end of a trace.
# load: 10,000 short processes, 10 calls each, `-i -t +w`
# timeout: 180
# full timeout: 1800
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
# crowd has 100 children at once.
loss 101 101 -i -t +w -- call $(scaled 500 10000) 10
