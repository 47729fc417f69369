#!/bin/sh
# Shows that two processes that send each other signals lose no records.
#
# The stock backend loses none of them either: only two processes queue records. The load is for the
# order of PSIG and system calls.
# load: 100,000 signals between two processes, `-i -t +w`
# timeout: 120
# full timeout: 1200
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
loss 3 3 -i -t +w -- signals 1 $(scaled 2500 50000)
