#!/bin/sh
# Shows that a signal which interrupts a write to an NFS trace file, mounted with intr, loses
# nothing.
#
# The signal is pending for the thread that writes. No process stops being traced, and no record is
# lost.
# timeout: 240
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

# nfs: starts an NFS server on this machine, and mounts its one directory on mnt.
nfs() {
	mkdir export mnt || return 1
	mount -t tmpfs tmpfs export || return 1
	at_exit "umount -f $PWD/export"
	kldload -n nfsd nfscl || return 1
	ifconfig lo0 inet 127.0.0.1 up || return 1
	sysctl -q vfs.nfsd.server_min_nfsvers=4 vfs.nfsd.server_max_nfsvers=4 vfs.nfsd.enable_stringtouid=1 \
	    vfs.nfs.enable_uidtostring=1 || return 1
	echo "V4: $PWD/export" >exports
	echo "$PWD/export -maproot=root 127.0.0.1" >>exports
	mountd -R exports || return 1
	at_exit 'kill $(cat /var/run/mountd.pid) 2>/dev/null'
	nfsd -t -n 4 || return 1
	at_exit 'kill -USR1 $(pgrep -o nfsd) 2>/dev/null'
	for _second in $(jot 20); do
		if mount -t nfs -o nfsv4,intr,retrycnt=1 127.0.0.1:/ mnt; then
			at_exit "umount -f $PWD/mnt"
			return
		fi
		sleep 1
	done
	return 1
}
nfs || skip "no NFS server"

module_load
sysctl -q kern.ktrace_rs.policy=return || fail "policy"
dropped=$(ktrace_rs_stat dropped)
quiet

file=$PWD/mnt/trace
: >"$file" || skip "NFS cannot be written"
# steady NAME: traces a process. All of them share one file.
steady() {
	"$KT_BIN/steady" -p 2000 >"said.$1" &
	pid=$!
	at_exit "kill -KILL $pid 2>/dev/null"
	# SYSCALL, SYSRET and PSIG. (ktrace -a wants to own the file, and NFS may know no owner.)
	check_eq "$("$KT_BIN/ktr_call" ktrace "$file" set 0x26 "$pid")" ok "ktrace"
	# It has its signal handlers from here on.
	wait_for 60 has "$file" "^SYSRET pid=$pid .* code=39 "
}
steady other
other=$pid
for round in 1 2 3 4 5; do
	steady "$round"
	# One of the signals that interrupt an intr mount.
	kill -HUP "$pid"
	wait "$pid" || fail "steady: status $?"
	check_ok is_traced "$other"
	is_written() {
		has "$file" "^PSIG pid=$pid .* signo=1 "
	}
	wait_for 30 is_written
done
kill -HUP "$other"
wait "$other" || fail "steady: status $?"
wait_for 30 idle
! logged "ktrace write failed" || fail "a signal has ended a trace"
check_eq "$(records "$file" ' drop=1')" 0 "drops"
check_eq "$(ktrace_rs_stat dropped)" "$dropped" "kern.ktrace_rs.stats.dropped"
module_unload
