#!/bin/sh
# Shows that an ordinary user's trace of a set-id program does not reveal the program's addresses.
#
# No value in the file lies near its text, data, stack or run-time linker. This is checked for a
# 64-bit and a 32-bit program, with each facility alone, with page faults, and with all facilities.
# timeout: 600
# core
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load
module_only "the stock backend shows the page at the program's base where it also traces paths"

# randomize 0|1: run.sh has turned address randomization off.
randomize() {
	for setting in enable pie_enable stack shared_page; do
		echo "kern.elf64.aslr.$setting=$1"
	done | xargs sysctl -iq
}
at_exit "randomize 0"
nobody=$(id -u nobody)
all=cfinpstuwy
! of_15 || all=${all}aex
# Units of addresses, four digits. Equal and neighbouring ones are near: a page fault may touch a
# neighbouring page.
near=65536

# ktrace(1) recreates the file.
chmod 777 .
for program in setid_layout layout32; do
	[ -x "$KT_BIN/$program" ] || continue
	cp "$KT_BIN/$program" .
	chmod 4755 $program
done

# layout_of PROGRAM LETTERS: runs PROGRAM as nobody, who traces these facilities to out. The output
# goes to layout.
layout_of() {
	rm -f out
	randomize 1 || fail "sysctl"
	"$KT_BIN/ktr_call" -u "$nobody" exec /usr/bin/ktrace -t "$2" -f out "./$1" >layout
	_status=$?
	randomize 0 || fail "sysctl"
	return $_status
}

# check_layout PROGRAM LETTERS: fails if the trace has an address near those that PROGRAM prints.
check_layout() {
	layout_of "$1" "$2" || fail "$1 with -t $2: status $?"
	read -r _euid euid <layout
	[ $((euid)) -eq 0 ] || skip "set-id programs are not allowed here"
	[ -s out ] || return 0
	raw out >raw.out
	sed 1d layout >addresses
	while read -r _what where; do
		for unit in $((where / near - 1)) $((where / near)) $((where / near + 1)); do
			printf '0x%x[0-9a-f]{4}[[:>:]]\n' $unit
		done
	done <addresses >nearby
	check_eq "$(grep -E -c -f nearby addresses)" "$(wc -l <addresses | tr -d ' ')" "addresses that are found in themselves"
	! grep -E -f nearby raw.out || fail "$1 with -t $2: these are near $(cat layout)"
}

# check_program PROGRAM: checks PROGRAM with all facilities, and with each facility alone.
check_program() {
	check_layout "$1" $all
	check_ge "$(wc -l <layout)" 4 "numbers that $1 prints"
	check_ok has out '^SYSCALL .* code=59 '
	for letter in $(echo $all | sed 's/./& /g'); do
		check_layout "$1" $letter
		[ $letter = f ] || check_layout "$1" f$letter
	done
}

for policy in batch record; do
	at_exit "sysctl -q kern.ktrace_rs.policy=batch"
	sysctl -q kern.ktrace_rs.policy=$policy || fail "sysctl"
	note "$policy"
	check_program setid_layout
done
if [ ! -x layout32 ]; then
	without "a 32-bit program: none was built"
elif layout_of layout32 $all; status=$?; [ $status = 126 ]; then
	without "a 32-bit program: the kernel runs none"
else
	check_program layout32
fi
wait_for 5 idle
