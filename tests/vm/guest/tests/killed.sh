#!/bin/sh
# Shows that `kill -9 -1` of a user whose processes are all traced leaves whole trace files.
#
# The processes fork, sleep, are stopped, or are in the middle of a write. The last record of each
# is its PROCDTOR, and the module holds nothing afterwards.
# full timeout: 1200
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
rounds=$(scaled 2 30)
uid=$(id -u tests)
cp -R "$KT_BIN" bin
chmod -R a+rx . bin

# as_user COMMAND...: runs COMMAND in the background, and traces it and all its children to $out.
as_user() {
	: >"$out"
	ktrace -i -t+wf -f "$out" bin/ktr_call -u "$uid" exec "$@" &
}
none_left() {
	[ -z "$(ps -ax -o uid= -o pid= | awk -v uid="$uid" '$1 == uid')" ]
}

for round in $(jot "$rounds"); do
	out=fork.out as_user /bin/sh -c 'while :; do (/usr/bin/true); done'
	out=sleep.out as_user "$PWD/bin/crowd" sleep 10 1000000
	out=call.out as_user "$PWD/bin/crowd" call 2 1000000000
	out=write.out as_user /bin/dd if=/dev/zero of=/dev/null bs=64k
	out=stop.out as_user /bin/sh -c 'kill -STOP $$'
	for file in fork.out sleep.out call.out write.out stop.out; do
		wait_for 30 test -s $file
	done
	wait_for 30 sh -c "ps -ax -o uid= -o state= | grep -q '^ *$uid T'"
	bin/ktr_call -u "$uid" exec /bin/sh -c 'kill -9 -1'
	wait_for 30 none_left
	wait
	for file in fork.out sleep.out call.out write.out stop.out; do
		raw -l $file >raw.out
		check_ge "$(wc -l <raw.out)" 1 "processes in $file"
		! grep -v '^PROCDTOR ' raw.out || fail "$file: no PROCDTOR at the end"
	done
	is_stock || wait_for 5 idle
done
module_unload
