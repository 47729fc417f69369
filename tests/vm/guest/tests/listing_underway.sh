#!/bin/sh
# Shows that kern.ktrace_rs can be read while the module loads and unloads.
#
# The stock backend traces processes in between. Trace state attached to those is not the module's,
# and the module does not touch it.
# timeout: 240
# full timeout: 1800
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

spawn_tick
traced=$spawned
at_exit ": >$PWD/stop"
readers=
for reader in 1 2 3; do
	while [ ! -e stop ]; do
		sysctl -n kern.ktrace_rs.procs kern.ktrace_rs.files kern.ktrace_rs.stats.oldest >read.$reader 2>/dev/null
		# Blank lines precede the lists, whose lines have 7 and 6 columns. The age has one.
		awk 'NF != 0 && NF != 7 && NF != 6 && NF != 1 { print "not a line of a list: " $0; exit 1 }' read.$reader || exit
	done >said.$reader &
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
# A new trace is refused for a while, or ended, meanwhile, and this loop tries again. It holds back
# until the module is loaded.
while [ ! -e stop ]; do
	[ -e hold ] || ktrace -t c -f between.out -p "$traced" || :
done 2>refused &
readers="$readers $!"
# load: loads the module, unless a process is traced.
load() {
	ktrace -C
	kldload "$KT_MODULE" 2>/dev/null
}
for i in $(jot "$(scaled 10 200)"); do
	: >hold
	wait_for 20 load
	rm hold
	kldunload -f ktrace_rs 2>/dev/null || :
done
: >stop
for reader in $readers; do
	wait "$reader" || fail "a reader: $(cat said.?)"
done
! grep -v ': Device busy$' refused || fail "ktrace(2) fails with another error than EBUSY"
note "$(wc -l <refused) traces refused"
ktrace -C
kill "$traced"
wait "$traced" || :
module_load
sysctl -n kern.ktrace_rs.procs
check_eq "$(sysctl -n kern.ktrace_rs.procs | sed 1,2d)" "" "processes"
module_unload
