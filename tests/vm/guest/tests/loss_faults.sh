#!/bin/sh
# Shows that page faults of fresh memory lose no records.
# load: 100,000 page faults of 4 processes, `-i -t +f`
# timeout: 120
# full timeout: 1200
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
loss 5 5 -i -t +f -- faults 4 $(scaled 2500 25000)
