# Helpers for the guest tests. A test begins with
#
#	#!/bin/sh
#	# timeout: 300            (optional, seconds; 120 where it is left out)
#	# full timeout: 1800      (optional, where the test runs at full length)
#	# panics                  (optional: where it sets debug.kdb.panic, the machine is
#	                          started again, and the test as well; see KT_DOWNS)
#	# boots                   (optional: as panics, with a reboot, and with the root file
#	                          system as the test has left it; at its end that is as it was)
#	# core                    (optional: it runs on every image, not on those of one release only)
#	# not on arm64: REASON    (optional)
#	. "$KT/lib.sh"
#
# runs as root in a fresh directory, and ends with status 0 (ok), 77 (skipped,
# its last line says why) or anything else (failed). run.sh gives it:
#
#	KT         where everything handed in was unpacked
#	KT_MODULE  path of ktrace_rs.ko, with assertions where the kernel has them; empty
#	           where there is none
#	KT_BACKEND module, or stock where the whole run is to use the stock backend:
#	           module_load does nothing then; or none, where no module was handed in
#	KT_LENGTH  short, or full for make stress: see scaled
#	KT_BIN     the compiled test programs
#	KT_ATF     the ATF programs
#	KT_SLOW_DISK
#	           a disk of 64 MiB that reads and writes 256 KiB a second, with anything on it
#	KT_KEPT_DISK
#	           a disk of 256 MiB, with zeros on it at first, that is the same one after a panic
#	KT_DOWNS   how many systems have gone down for this test
#	KT_OUT     a directory whose files end up on the host beside the test's log

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

# without WHAT...: says, in the runner's report too, that a part of the test is left out for want of WHAT.
without() {
	echo "-- without $*"
	echo "$*" >>"$KT_OUT/left_out"
}

# note MESSAGE...: a line in the log that says how far the test has come.
note() {
	echo "-- $*"
}

# at_exit COMMAND: runs COMMAND when the test ends; the last one given runs first.
_at_exit=
at_exit() {
	_at_exit="$1
$_at_exit"
	trap '_status=$?; set +e; eval "$_at_exit"; exit $_status' EXIT
}

# scaled SHORT FULL: the one that goes with the length of this run.
scaled() {
	[ "$KT_LENGTH" = full ] && echo "$2" || echo "$1"
}

# module_is_loaded: true while the module is in the kernel.
module_is_loaded() {
	kldstat -q -m ktrace_rs || kldstat -q -n ktrace_rs.ko
}

# module_load: makes sure that the module is loaded.
module_load() {
	[ "$KT_BACKEND" != stock ] || return 0
	module_is_loaded && return 0
	[ -n "$KT_MODULE" ] || skip "no module given"
	kldload "$KT_MODULE" || fail "kldload $KT_MODULE: status $?"
	module_announce
}

# module_only REASON...: skips the rest where the run is to use the stock backend.
module_only() {
	[ "$KT_BACKEND" = module ] || skip "of the module only: $*"
}

# module_announce: tells the runner where the module lies, so that it knows the
# module's frames in a stack trace. For tests that call kldload themselves.
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

# backend stock|module: which of the two backends traces from now on.
backend() {
	case $1 in
	stock)	module_unload ;;
	module)	module_load ;;
	*)	fail "backend $1: neither stock nor module" ;;
	esac
}

# with_stock COMMAND..., with_module COMMAND...: runs COMMAND on one backend; its
# status is COMMAND's.
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

# check_le GOT LIMIT [WHAT], check_ge GOT LIMIT [WHAT]: fails unless the number GOT
# is at most, at least, LIMIT.
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

# check_fails PATTERN COMMAND...: fails unless COMMAND fails and its output matches
# the extended regular expression PATTERN.
check_fails() {
	_want=$1
	shift
	if _got=$("$@" 2>&1); then
		fail "succeeded, but should not: $*"
	fi
	printf '%s\n' "$_got" | grep -Eq -e "$_want" ||
	    fail "'$*' said '$_got', want a match of '$_want'"
}

# check_has FILE PATTERN, check_lacks FILE PATTERN: fails unless FILE has a line, has
# no line, that matches the extended regular expression PATTERN.
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

# ktrace_rs_stat NAME: one of the module's statistics.
ktrace_rs_stat() {
	sysctl -n "kern.ktrace_rs.stats.$1"
}
