#!/bin/sh
# Shows that a facility cleared while read(2) waits makes no data record when the call returns.
#
# Earlier records stay, and the other facilities continue.
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

mkfifo fifo || fail "mkfifo: status $?"
# Open both ends, so that neither open(2) waits.
exec 3<>fifo
ktrace -t ci -f out /bin/dd if=fifo of=/dev/null bs=64 &
pid=$!
at_exit "kill $pid 2>/dev/null"

# reads: returns whether dd waits in read(2).
reads() {
	[ "$(ps -o wchan= -p $pid)" = piperd ]
}
# returned NUMBER: returns whether more than NUMBER calls of read(2) have returned.
returned() {
	[ "$(records out '^SYSRET .* code=3 ')" -gt "$1" ]
}

wait_for 30 reads
echo first >&3
wait_for 30 has out '^GENIO .* rw=0 .*data=first'
wait_for 30 reads
before=$(records out '^SYSRET .* code=3 ')
ktrace -c -t i -p $pid || fail "ktrace -c: status $?"
check_ok is_traced $pid
echo secret >&3
wait_for 30 returned "$before"
raw out >raw.out
check_lacks raw.out secret
check_has raw.out '^GENIO .* rw=0 .*data=first'
