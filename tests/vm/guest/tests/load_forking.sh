#!/bin/sh
# Shows that load and unload are safe while every CPU only forks, executes and exits.
#
# When the CPUs are stopped, all of them are in the redirected functions or about to enter them.
# Every other time, these processes are traced and the unload is forced. Each trace file is whole.
# timeout: 240
# full timeout: 1800
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
rounds=$(scaled 6 200)

forks() {
	echo $(($(sysctl -n vm.stats.vm.v_forks) + $(sysctl -n vm.stats.vm.v_vforks)))
}

loops=
for cpu in $(jot "$(sysctl -n hw.ncpu)" 0); do
	# Their priority is lower than that of the shell that loads.
	spawn nice -n 15 cpuset -l "$cpu" sh -c 'while :; do /usr/bin/true; done'
	wait_for 30 runs sh "$spawned"
	loops="$loops $spawned"
done
begun=$(forks)
for round in $(jot "$rounds"); do
	module_load
	if [ $((round % 2)) -eq 0 ]; then
		module_unload
		continue
	fi
	for loop in $loops; do
		ktrace -i -t+wf -f "out.$loop" -p "$loop" || fail "ktrace: status $?"
		wait_for 30 has "out.$loop" '^SYSCALL '
	done
	kldunload -f ktrace_rs || fail "unload $round"
	for loop in $loops; do
		check_ge "$(records "out.$loop" '^SYSCALL ')" 1 "system calls of $loop"
		"$KT_BIN/ktrcheck" "out.$loop" >said || fail "$(cat said)"
	done
	rm -f out.*
done
made=$(($(forks) - begun))
echo "$rounds loads, $made forks meanwhile"
check_ge "$made" $((10 * rounds)) "forks"
for backend in stock module; do
	with_$backend ktrace -t c -f out true || fail "ktrace"
	check_ge "$(records out ^SYSCALL)" 3 "records of the $backend backend after"
done
wait_for 10 idle
module_unload
