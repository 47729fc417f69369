#!/bin/sh
# The stock backend records the same context switches before the module was there and after it: the requests in
# its pool are all there. Under the module more threads went to sleep than that has.
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
pool=$(sysctl -n kern.ktrace.request_pool)
more=$((pool + 50))

# switches: those of a sleep, by the stock backend.
switches() {
	ktrace -t w -f stock.out sleep 0.2 || fail "ktrace: status $?"
	kdump -f stock.out | grep -c nanslp
}
# stops N: a process that sleeps N times, and whether each of these is recorded.
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
