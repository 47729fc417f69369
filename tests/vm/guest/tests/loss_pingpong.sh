#!/bin/sh
# Shows that pairs of processes that constantly wait for each other lose no records, where the stock
# backend does.
# load: 64 pairs of processes, 500 times there and back through pipes, `-i -t +w`
# timeout: 120
# full timeout: 1200
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
stock_loses=yes
pairs=64
loss $((2 * pairs + 1)) $((2 * pairs + 1)) -i -t +w -- pingpong "$pairs" $(scaled 200 500)
