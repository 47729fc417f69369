# Helpers for the guest tests. A test begins with
#
#	#!/bin/sh
#	# timeout: 300            (optional, in seconds; the default is 120)
#	# full timeout: 1800      (optional, if the test also runs at full length)
#	# panics                  (optional: the test sets debug.kdb.panic. The machine and
#	                          the test are then started again; see KT_DOWNS)
#	# boots                   (optional: as panics, with a reboot that keeps the root file
#	                          system. The test must restore that before it ends)
#	# core                    (optional: make check runs the test on each release and machine, not
#	                          on one only)
#	# kernel: debug           (optional, or plain: make check runs the test on one kernel of a
#	                          release, where it finds more: debug for locks, life cycles and
#	                          failing disks, plain for contents, tools, times and loss)
#	. "$KT/lib.sh"
#
# A test runs as root in a fresh directory. It ends with status 0 (ok), 77 (skipped, for the reason
# in its last line) or any other status (failed). run.sh sets these variables:
#
#	KT          directory of the unpacked files
#	KT_MODULE   path of ktrace_rs.ko, with assertions if the kernel has them; empty
#	            if there is no module
#	KT_BACKEND  module; or stock, if the whole run uses the stock backend and
#	            module_load does nothing; or none, if there is no module
#	KT_LENGTH   short, or full for make stress: see scaled
#	KT_BIN      the compiled test programs
#	KT_ATF      the ATF programs
#	KT_SLOW_DISK
#	            a disk of 64 MiB that reads and writes 256 KiB/s, with arbitrary contents
#	KT_KEPT_DISK
#	            a disk of 256 MiB, initially zero, that keeps its contents after a panic
#	KT_DOWNS    number of systems that have gone down for this test
#	KT_OUT      directory whose files end up on the host beside the test's log

# fail MESSAGE...: ends the test as failed.
fail() {
	echo "fail: $*"
	exit 1
}

# skip REASON...: ends the test as skipped.
skip() {
	echo "$*"
	exit 77
}

# without WHAT...: notes, in the runner's report too, that a part of the test is skipped for lack of
# WHAT.
without() {
	echo "-- without $*"
	echo "$*" >>"$KT_OUT/left_out"
}

# note MESSAGE...: logs the test's progress.
note() {
	echo "-- $*"
}

# at_exit COMMAND: runs COMMAND when the test ends. The last one registered runs first.
_at_exit=
at_exit() {
	_at_exit="$1
$_at_exit"
	trap '_status=$?; set +e; eval "$_at_exit"; exit $_status' EXIT
}

# scaled SHORT FULL: prints the value for the length of this run.
scaled() {
	[ "$KT_LENGTH" = full ] && echo "$2" || echo "$1"
}

# module_is_loaded: true while the module is in the kernel.
module_is_loaded() {
	kldstat -q -m ktrace_rs || kldstat -q -n ktrace_rs.ko
}

# module_load: makes sure that the module is loaded. It is unloaded when the test ends; the test fails
# if that is refused.
_unloads=
module_load() {
	[ "$KT_BACKEND" != stock ] || return 0
	module_is_loaded && return 0
	[ -n "$KT_MODULE" ] || skip "no module given"
	kldload "$KT_MODULE" || fail "kldload $KT_MODULE: status $?: $(dmesg | grep '^ktrace_rs: ' | tail -1)"
	module_announce
	[ -n "$_unloads" ] || at_exit "! module_is_loaded || kldunload ktrace_rs"
	_unloads=yes
}

# module_only REASON...: skips the rest of the test if the run does not use the module.
module_only() {
	[ "$KT_BACKEND" = module ] || skip "of the module only: $*"
}

# module_announce: tells the runner the module's address, so that it recognises the module's frames
# in a stack trace. Only tests that call kldload themselves need it.
module_announce() {
	kldstat | awk '$5 == "ktrace_rs.ko" { print $3, $4 }' | {
		read -r _address _size &&
		    printf '\n@@KT:module:%s:%s@@\n' "$_address" "$_size" >/dev/console
	}
}

# module_unload: makes sure that the module is not loaded.
module_unload() {
	module_is_loaded || return 0
	kldunload ktrace_rs || fail "kldunload ktrace_rs: status $?"
}

# backend stock|module: switches to one of the two backends.
backend() {
	case $1 in
	stock)	module_unload ;;
	module)	module_load ;;
	*)	fail "backend $1: neither stock nor module" ;;
	esac
}

# with_stock COMMAND..., with_module COMMAND...: runs COMMAND on one backend and returns its status.
with_stock() {
	backend stock
	"$@"
}
with_module() {
	backend module
	"$@"
}

# check_eq GOT WANT [WHAT]: fails unless the two strings are equal.
check_eq() {
	[ "$1" = "$2" ] || fail "${3:-value}: got '$1', want '$2'"
}

# check_ne GOT OTHER [WHAT]: fails if the two strings are equal.
check_ne() {
	[ "$1" != "$2" ] || fail "${3:-value}: got '$1'"
}

# check_le GOT LIMIT [WHAT], check_ge GOT LIMIT [WHAT]: fails unless the number GOT is at most, or
# at least, LIMIT.
check_le() {
	[ "$1" -le "$2" ] || fail "${3:-value}: got $1, want at most $2"
}
check_ge() {
	[ "$1" -ge "$2" ] || fail "${3:-value}: got $1, want at least $2"
}

# check_ok COMMAND...: fails unless COMMAND succeeds.
check_ok() {
	"$@" || fail "status $? of: $*"
}

# check_status WANT COMMAND...: fails unless COMMAND ends with status WANT.
check_status() {
	_want=$1
	shift
	_got=0
	"$@" || _got=$?
	check_eq "$_got" "$_want" "status of '$*'"
}

# check_fails PATTERN COMMAND...: fails unless COMMAND fails and its output matches the extended
# regular expression PATTERN.
check_fails() {
	_want=$1
	shift
	if _got=$("$@" 2>&1); then
		fail "succeeded, but should not: $*"
	fi
	printf '%s\n' "$_got" | grep -Eq -e "$_want" ||
	    fail "'$*' said '$_got', want a match of '$_want'"
}

# check_has FILE PATTERN, check_lacks FILE PATTERN: fails unless FILE has a line, or has no line,
# that matches the extended regular expression PATTERN.
check_has() {
	grep -Eq -e "$2" "$1" || fail "$1: no line matches '$2'"
}
check_lacks() {
	! grep -En -e "$2" "$1" || fail "$1: a line matches '$2'"
}

# wait_for SECONDS COMMAND...: runs COMMAND until it succeeds; fails after SECONDS.
wait_for() {
	_waited=$1
	shift
	! "$@" || return 0
	_until=$(($(date +%s) + _waited))
	until "$@"; do
		[ "$(date +%s)" -lt "$_until" ] || fail "not so after $_waited s: $*"
		sleep 0.1
	done
}

# ktrace_rs_stat NAME: prints one of the module's statistics.
ktrace_rs_stat() {
	sysctl -n "kern.ktrace_rs.stats.$1"
}
