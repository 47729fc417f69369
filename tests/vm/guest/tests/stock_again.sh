#!/bin/sh
# Shows that the stock backend records the same context switches after the module as before it.
#
# All requests are back in its pool, although more threads slept under the module than the pool has
# requests.
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
pool=$(sysctl -n kern.ktrace.request_pool)
more=$((pool + 50))

# switches: prints the number of context switches of a sleep, recorded by the stock backend.
switches() {
	ktrace -t w -f stock.out sleep 0.2 || fail "ktrace: status $?"
	kdump -f stock.out | grep -c nanslp
}
# stops N: runs a process that sleeps N times, and checks that each sleep is recorded.
stops() {
	ktrace -i -t w -f stops.out "$KT_BIN/crowd" sleep 1 "$1" || fail "crowd: status $?"
	check_eq "$(records stops.out '^CSW .* out=1 user=0 wmesg=nanslp')" "$1" "stops"
	check_eq "$(records stops.out '^CSW .* out=0 user=0 wmesg=nanslp')" "$1" "resumes"
}

quiet
before=$(switches)
check_eq "$before" 2 "switches before"
module_load
stops $more
module_unload
check_eq "$(switches)" "$before" "switches after"
stops $more
! logged 'Out of ktrace request objects' || fail "the pool of the stock backend is empty"
