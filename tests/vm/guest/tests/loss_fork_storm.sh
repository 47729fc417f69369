#!/bin/sh
# Shows that many short processes lose no record from their first to their last, and their memory is
# freed.
# load: 10,000 short processes, 10 calls each, `-i -t +w`
# timeout: 180
# full timeout: 1800
. "$KT/lib.sh"
. "$KT/tests/common.subr"
. "$KT/tests/loss.subr"
is_stock || need_module
# crowd has 100 children at once.
loss 101 101 -i -t +w -- call $(scaled 500 10000) 10
