#!/bin/sh
# Shows that many threads of one process, with one queue and one write order, lose no records.
#
# The stock backend loses few of them or none. The load is for the order of the records of each thread
# in a queue that all of them share.
# load: 200 threads of one process, each sleeps 1 ms 200 times, `-t +w`
# timeout: 120
# full timeout: 1200
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
threads=$(scaled 20 200)
loss 1 $((threads + 1)) -t +w -- threads "$threads" $(scaled 100 200)
