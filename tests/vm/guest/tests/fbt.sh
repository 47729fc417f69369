#!/bin/sh
# Shows that fbt of dtrace(1) and the module leave each other's changes of the kernel's text alone.
#
# A probe that is there first prevents the load. On amd64, a later probe fires while the module is
# loaded, and goes on when it is unloaded. On arm64, fbt itself must be loaded later.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

command -v dtrace >/dev/null || skip "the image has no dtrace(1)"
! kldstat -q -m fbt || skip "fbt is loaded already"
kldload profile fbt 2>/dev/null || skip "no modules for dtrace(1)"
at_exit "module_unload; kldunload fbt profile"

# works: fails unless the backend traces.
works() {
	ktrace -i -t w -f out "$KT_BIN/crowd" sleep 4 5 made || fail "crowd: status $?"
	check_eq "$(records out '^CSW .* out=1 user=0 wmesg=nanslp')" 20 "sleeps"
	trace_works
}

if [ "$(uname -m)" = arm64 ]; then
	note "fbt first: the load is refused"
	quiet
	! kldload "$KT_MODULE" || fail "it loads beside fbt"
	logged 'ktrace_rs: fbt of dtrace is loaded, .* kldunload fbt, load this first, and fbt then' || fail "no message"
	kldunload fbt || fail "kldunload fbt: status $?"
	module_load
	kldload fbt || fail "kldload fbt: status $?"
	works
	exit
fi

# watch: begins to count the calls of the backend's functions, with probes on their first instructions.
watch() {
	: >fired
	dtrace -x nolibs -q -n 'fbt:kernel:ktr*:entry { @fired[probefunc] = count(); }
	    tick-1s { printa("%s %@d\n", @fired); printf("--\n"); }' >fired 2>err &
	dtrace=$!
	at_exit "kill $dtrace 2>/dev/null; wait $dtrace"
	wait_for 60 said_since 0
}
unwatch() {
	kill $dtrace
	wait $dtrace || :
}
# said_since N: returns whether dtrace has printed its counts twice since it had printed them N times.
said_since() {
	[ "$(grep -c '^--' fired)" -gt $(($1 + 1)) ]
}
# fired: prints how often ktrsyscall() has been called so far.
fired() {
	wait_for 30 said_since "$(grep -c '^--' fired)"
	awk '$1 == "ktrsyscall" { n = $2 } END { print n + 0 }' fired
}
# seen: fails unless the backend works and the probes fire.
seen() {
	_before=$(fired)
	works
	_after=$(fired)
	note "ktrsyscall() was called $_before times before, $_after times after"
	check_ge "$_after" $((_before + 20)) "calls of ktrsyscall()"
}

note "a probe that is there first: the load is refused"
watch
seen
quiet
! kldload "$KT_MODULE" || fail "it loads"
logged 'ktrace_rs: another tool .dtrace.. has patched .*: stop that and load again' || fail "no message"
seen
unwatch

note "a probe that comes later fires, and goes on when the module is unloaded"
module_load
works
watch
seen
module_unload
seen
unwatch
works
