#!/bin/sh
# Shows that page faults of fresh memory lose no records, and that those of a process stay in order.
#
# The stock backend loses none of them either: a process queues few faults before it returns to user
# mode. The load is for the pairs of FAULT and FAULTEND, page by page.
# load: 100,000 page faults of 4 processes, `-i -t +f`
# timeout: 120
# full timeout: 1200
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
loss 5 5 -i -t +f -- faults 4 $(scaled 2500 25000)
