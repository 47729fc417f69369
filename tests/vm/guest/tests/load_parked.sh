#!/bin/sh
# Shows that a thread inside a function which is to be redirected is found, and its code not
# patched.
#
# A test build of the module parks a thread there. The thread then calls the function for as long as
# the module is loaded. Both switches wait until it is outside.
# timeout: 240
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

# refused WHAT: prints how often the last load or unload found the thread inside.
refused() {
	dmesg | sed -n "s/^ktrace_rs: parked: $1 refused \([0-9]*\) times\$/\1/p" | tail -1
}

at_exit "kldunload -f ktrace_rs_park 2>/dev/null"
calling=0 round=0
while [ $calling -lt 5 ]; do
	round=$((round + 1))
	[ $round -le 40 ] || fail "the thread is hardly ever seen: $calling times in $round rounds"
	quiet
	kldload "$KT/ktrace_rs_park.ko" || fail "load $round: $(dmesg | tail -1)"
	check_ge "$(refused load)" 20 "times that the load was refused"
	ktrace -t c -f out true || fail "ktrace"
	check_ge "$(records out ^SYSCALL)" 3 "records"
	kldunload ktrace_rs_park || fail "unload $round"
	! logged MISSED || fail "a function was redirected under the thread"
	calling=$((calling + $(refused load) - 20 + $(refused unload)))
done
echo "parked: refused 20 times in each of $round rounds; calling: seen inside $calling times"
ktrace -t c -f out true
check_ge "$(records out ^SYSCALL)" 3 "records of the stock backend after"
