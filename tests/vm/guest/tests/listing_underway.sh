#!/bin/sh
# Shows that kern.ktrace_rs can be read while the module loads and unloads.
#
# The stock backend traces processes in between. Trace state attached to those is not the module's,
# and the module does not touch it.
# timeout: 240
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

spawn "$KT_BIN/tick"
traced=$spawned
at_exit ": >$PWD/stop"
readers=
for reader in 1 2 3; do
	while [ ! -e stop ]; do
		sysctl -n kern.ktrace_rs.procs kern.ktrace_rs.files kern.ktrace_rs.stats.oldest
	done >/dev/null 2>&1 &
	readers="$readers $!"
done

note "loads that are refused"
ktrace -t c -f stock.out -p "$traced" || fail "ktrace: status $?"
for i in $(jot "$(scaled 10 200)"); do
	! kldload "$KT_MODULE" 2>/dev/null || fail "it loads although $traced is traced"
done
check_ok grows stock.out
ktrace -C

note "forced unloads, and stock traces right behind"
# A new trace is refused for a while, or ended, meanwhile, and this loop tries again.
while [ ! -e stop ]; do
	ktrace -t c -f between.out -p "$traced"
done >/dev/null 2>&1 &
readers="$readers $!"
loads=0 tries=0 least=$(scaled 10 200)
# Most loads find a traced process.
while [ $tries -lt "$least" ] || [ $loads -lt 2 ]; do
	[ $tries -lt $((10 * least)) ] || fail "$loads loads in $tries tries"
	tries=$((tries + 1))
	! kldload "$KT_MODULE" 2>/dev/null || loads=$((loads + 1))
	kldunload -f ktrace_rs 2>/dev/null || :
	ktrace -C
done
echo "$loads loads in $tries tries"
: >stop
for reader in $readers; do
	wait "$reader" || :
done
ktrace -C
kill "$traced"
wait "$traced" || :
module_load
sysctl -n kern.ktrace_rs.procs
check_eq "$(sysctl -n kern.ktrace_rs.procs | sed 1,2d)" "" "processes"
module_unload
