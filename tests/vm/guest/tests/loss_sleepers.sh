#!/bin/sh
# Shows that many processes that mostly sleep, and so queue context switches, lose no records, where
# the stock backend does.
# load: 1,000 processes, each sleeps 1 ms 50 times, `-i -t +w`
# timeout: 120
# full timeout: 1200
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
stock_loses=yes
processes=$(scaled 300 1000)
loss $((processes + 1)) $((processes + 1)) -i -t +w -- sleep "$processes" $(scaled 20 50)
