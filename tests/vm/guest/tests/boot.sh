#!/bin/sh
# Shows that a reboot during tracing is orderly and leaves whole trace files, and that the module
# loads at boot.
#
# Traced processes fork, execute, sleep, write and fault while the system goes down. The runner
# checks that it does so in order. The next system gets the module from loader(8), before any
# process runs, and again, after an unload, from rc(8). The system after that gets it from rc(8) at
# boot.
# timeout: 240
# boots
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_only "boot"
[ -n "$KT_MODULE" ] || skip "no module given"
traces=/var/tmp/ktrace_rs.boot
settings="/boot/loader.conf /etc/rc.conf"

# go_down: makes init(8) reboot the system.
#
# A reboot(8) from the test would run below timeout(1). That passes on the TERM for all processes,
# and five seconds later sends a KILL to those that ignore it.
go_down() {
	kill -INT 1
	exec sleep 600
}

if [ "$KT_DOWNS" -eq 0 ]; then
	mkdir -p $traces /boot/modules
	for file in $settings; do
		touch "$file"
		cp -p "$file" "$traces/${file##*/}.before" || fail "cp"
	done
	install -m 555 "$KT_MODULE" /boot/modules/ktrace_rs.ko || fail "install"
	kldxref /boot/modules || fail "kldxref"
	printf '%s\n' 'ktrace_rs_load="YES"' 'kern.ktrace_rs.policy="return"' >>/boot/loader.conf
	module_load
	spawn ktrace -i -t+wf -f $traces/fork sh -c 'while :; do (/usr/bin/true); done'
	spawn ktrace -i -t+wf -f $traces/write sh -c 'while :; do echo line; done >lines'
	spawn ktrace -i -t+wf -f $traces/sleep "$KT_BIN/crowd" sleep 20 1000000
	# This trace is too large to check afterwards.
	spawn ktrace -i -t+wf -f call.out "$KT_BIN/crowd" call 4 1000000000
	for file in $traces/fork $traces/write $traces/sleep call.out; do
		wait_for 60 grows $file
	done
	check_ge "$(ktrace_rs_stat procs)" 26 "traced processes"
	go_down
fi
if [ "$KT_DOWNS" -eq 2 ]; then
	note "rc.conf at boot"
	module_announce
	check_ok module_is_loaded
	trace_works
	module_unload
	for file in $settings; do
		cp -p "$traces/${file##*/}.before" "$file" || fail "cp"
	done
	rm -r /boot/modules/ktrace_rs.ko $traces
	kldxref /boot/modules
	exit
fi

module_announce
check_ok module_is_loaded
for file in fork write sleep; do
	raw -l $traces/$file >raw.out
	check_ge "$(wc -l <raw.out)" 1 "processes in $file"
	! grep -v '^PROCDTOR ' raw.out || fail "$file: no PROCDTOR at the end"
done
check_eq "$(sysctl -n kern.ktrace_rs.policy)" return "policy from loader.conf"
check_eq "$(kldstat -n ktrace_rs | awk 'NR == 2 { print $5 }')" ktrace_rs.ko "file"
# Loaded before init(8), the helpers have smaller process ids than any user process.
helpers=$(ps -ax -o pid= -o comm= | awk '$2 == "ktrace_rs" { print $1 }')
[ -n "$helpers" ] || fail "no helper"
for helper in $helpers; do
	check_le "$helper" 50 "pid of a helper"
done
check_eq "$(ktrace_rs_stat records)" 0 "records"
trace_works
wait_for 5 idle

note "rc.conf"
module_unload
sysrc -q kld_list=ktrace_rs >/dev/null || fail "sysrc"
service kld start || fail "service kld start: status $?"
check_ok module_is_loaded
trace_works
module_unload
sed -i '' /ktrace_rs/d /boot/loader.conf
go_down
