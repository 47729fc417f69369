#!/bin/sh
# The guest's side of the VM runner.
#
# The runner hands in a tree with this file at its root, starts `sh run.sh serve` on the serial
# console, and writes one request per line:
#
#	run NAME SECONDS DOWNS   run tests/NAME.sh or bench/NAME.sh for at most SECONDS;
#	                          DOWNS systems have gone down for it
#	again                     repeat the last end marker, which the console has lost
#	shell ROWS COLUMNS TERM   start an interactive shell
#
# Answers are markers of the form @@KT:word:field...@@ on lines of their own:
#
#	ready:release:machine:ident:witness|plain
#	broken:why                the files from the runner cannot be used; why has _ for blanks
#	begin:NAME
#	end:NAME:STATUS:LEFT      LEFT: -, or things that the test left behind, joined by commas:
#	                          processes, mounts, traced, module, stuck (what cannot be
#	                          cleaned up)
#	bye                       the interactive shell has ended
#
# A kernel message may run into a marker, so each marker is written twice. A test's log goes to
# out/NAME/log, and live to the second serial port if there is one. When the test has ended, all of
# out/NAME goes to the results disk as a tar archive.

set -u

KT=$(cd "$(dirname "$0")" && pwd)
KT_BIN=$KT/bin
KT_ATF=$KT/atf
read -r KT_BACKEND <"$KT/backend"
read -r KT_LENGTH <"$KT/length"
# A kernel with assertions gets the module with assertions.
KT_MODULE=$KT/ktrace_rs.ko
[ "$(sysctl -n kern.features.invariants 2>/dev/null)" != 1 ] || KT_MODULE=$KT/invariants/ktrace_rs.ko
[ "$KT_BACKEND" = module ] || KT_MODULE=
KT_SLOW_DISK=/dev/vtbd3
KT_KEPT_DISK=/dev/vtbd4
export KT KT_MODULE KT_BIN KT_ATF KT_BACKEND KT_LENGTH KT_SLOW_DISK KT_KEPT_DISK

RESULTS=/dev/vtbd2
LIVE=/dev/cuau1
[ -c "$LIVE" ] || LIVE=/dev/null

say() {
	printf '\n@@KT:%s@@\n' "$1" "$1"
}

serve() {
	stty -echo
	sysctl kern.tty_info_kstacks=1 >/dev/null 2>&1
	chmod 755 "$KT"
	if [ -n "$KT_MODULE" ] && [ ! -f "$KT_MODULE" ]; then
		case $KT_MODULE in
		*/invariants/*) say "broken:no_module_with_assertions_for_${KT##*/}" ;;
		*)	say "broken:no_module_for_${KT##*/}" ;;
		esac
		exit
	fi
	make_room
	fix_addresses
	witness=plain
	sysctl -n debug.witness.watch >/dev/null 2>&1 && witness=witness
	say "ready:$(uname -r):$(uname -m):$(uname -i):$witness"
	last=
	while read -r verb first second third; do
		case $verb in
		run)	run_test "$first" "$second" "$third" ;;
		again)	[ -z "$last" ] || say "$last" ;;
		shell)	shell "$first" "$second" "$third" ;;
		esac
	done
}

# make_room: grows a root file system with little room into its disk, which is larger than the
# image. CI images do so by themselves at their first boot.
make_room() {
	[ "$(df -k "$KT" | awk 'NR == 2 { print $4 }')" -lt $((3 << 20)) ] || return 0
	kenv growfs_swap_size=0 >/dev/null
	service growfs onestart >"$KT/growfs.log" 2>&1
}

# fix_addresses: gives a program the same addresses each time it runs. An emulated processor has then
# translated the program before, and starts it in a quarter of the time.
fix_addresses() {
	for what in enable pie_enable stack shared_page; do
		sysctl -iq "kern.elf64.aslr.$what=0"
	done
}

# run_test NAME SECONDS DOWNS
run_test() {
	name=$1
	KT_OUT=$KT/out/$name
	KT_DOWNS=$3
	STATE=$KT/state
	export KT_OUT KT_DOWNS STATE
	work=$KT/work/$name
	left=
	rm -rf "$KT_OUT" "$STATE" "$work"
	mkdir -p "$KT_OUT" "$STATE" "$work"
	say "begin:$name"

	watch_over "$2" >>"$KT_OUT/notes" 2>&1 &
	watcher=$!
	{
		cd "$work" && timeout -k 5 $(($2 + 60)) sh "$KT/run.sh" body "$name" </dev/null
		echo $? >"$STATE/reaper-status"
	} 2>&1 | tee "$KT_OUT/log" >"$LIVE"
	kill "$watcher" 2>/dev/null
	wait "$watcher" 2>/dev/null

	status=$(verdict)
	tidy >>"$KT_OUT/notes" 2>&1
	export_results
	last="end:$name:$status:${left:--}"
	say "$last"
}

# body NAME: runs the test itself below timeout(1). That is the reaper of all its processes, and
# passes a TERM on to each of them.
body() {
	echo "$PPID" >"$STATE/reaper"
	script=$KT/tests/$1.sh
	[ -f "$script" ] || script=$KT/bench/$1.sh
	sh "$script"
	echo $? >"$STATE/status"
	# A process that has been killed may need a while to exit.
	for _tenth in $(jot 100); do
		orphans
		[ -s "$STATE/orphans" ] || return 0
		sleep 0.1
	done
	trap '' TERM
	kill "$PPID"
}

# orphans: writes a list of the processes that the test has left running.
orphans() {
	ps -ax -o pid= -o ppid= -o args= | while read -r pid parent args; do
		[ "$parent" -ne "$PPID" ] || [ "$pid" -eq $$ ] || echo "$pid $parent $args"
	done >"$STATE/orphans"
}

# watch_over SECONDS: when the time is up, logs the wait channels of all threads and ends the test.
watch_over() {
	trap 'kill "$sleeper"; exit' TERM
	sleep "$1" &
	sleeper=$!
	wait "$sleeper"
	touch "$STATE/late"
	ps -ax -o pid,ppid,state,wchan,time,args >"$KT_OUT/processes"
	procstat -k -k -a >"$KT_OUT/stacks"
	echo "timed out after $1 s, see the files processes and stacks; the latest processes:"
	tail -n 12 "$KT_OUT/processes"
	kill "$(cat "$STATE/reaper")"
}

verdict() {
	if [ -e "$STATE/late" ]; then
		echo 124
		return
	fi
	file=$STATE/status
	[ -s "$file" ] || file=$STATE/reaper-status
	read -r status <"$file"
	echo "$status"
}

# tidy: restores the system for the next test. No process of this test runs, nothing is mounted or
# traced, and the module is unloaded. Notes each action in the log and in `left`.
tidy() {
	if [ -s "$STATE/orphans" ]; then
		echo "left running, killed now:"
		cat "$STATE/orphans"
		leave processes
	fi
	mount -p >"$STATE/mounts"
	mounts=
	while read -r _device dir _rest; do
		case $dir in
		"$work"/*) mounts="$dir $mounts" ;;
		esac
	done <"$STATE/mounts"
	for dir in $mounts; do
		echo "left mounted: $dir"
		leave mounts
		umount -f "$dir"
	done
	# The flags are hexadecimal.
	case $(ps -ax -o ktrace=) in
	*[1-9a-f]*)
		echo "left traced:"
		ps -ax -o pid= -o ktrace= -o args= | awk '$2 != 0'
		leave traced
		ktrace -C ;;
	esac
	if kldstat -q -m ktrace_rs || kldstat -q -n ktrace_rs.ko; then
		leave module
		kldunload ktrace_rs || leave stuck
	fi
	rm -rf "$work" || leave stuck
}

leave() {
	left=${left:+$left,}$1
}

export_results() {
	tar -c -f "$RESULTS" -C "$KT/out" "$name" && return
	echo "the results do not fit on the results disk, here is the log's end" >>"$KT_OUT/notes"
	tail -c 100000 "$KT_OUT/log" >"$KT_OUT/log.tail"
	mv "$KT_OUT/log.tail" "$KT_OUT/log"
	tar -c -f "$RESULTS" -C "$KT/out" "$name/log" "$name/notes"
}

# shell ROWS COLUMNS TERM
shell() {
	stty sane rows "$1" columns "$2"
	(
		cd "$KT" || exit
		unset ENV
		PS1='\u@\h:\w # ' TERM=$3 sh -i
	)
	stty -echo
	say bye
}

case ${1-} in
serve)	serve ;;
body)	body "$2" ;;
*)	echo "usage: run.sh serve" >&2; exit 64 ;;
esac
