#!/bin/sh
# Random system calls, ktrace(2) and utrace(2) among them, of eight processes of an ordinary user,
# with pointers, lengths, counts and sizes that no program would use. What is refused to the user is
# refused, whatever root traces stays traced, and the files hold whole records, of nothing but
# what the processes had: no address of the kernel, no data that is not theirs, no padding.
# timeout: 240
# full timeout: 3600
. "$KT/lib.sh"
. "$KT/tests/common.subr"
is_stock || need_module
module_load
processes=8
calls=$(scaled 2000 5000)
mkdir files
chmod 777 files

# rounds N: that many, each with traces of its own.
rounds() {
	all=0
	for _round in $(jot "$1"); do
		rm -rf files/*
		"$KT_BIN/fuzz" -n $processes -c "$calls" files >said 2>&1 || fail "$(cat said)"
		check_eq "$(awk '$1 == "calls" { print $2 }' said)" $((processes * calls)) "calls"
		all=$((all + processes * calls))
		for _file in files/own.* files/by_root.*; do
			(raw -q -k -d abcdefgh "$_file") || keep "$_file"
			made=$((made + $(sed -n 's/^records \([0-9]*\) .*/\1/p' raw.err)))
		done
		for _file in files/by_root.*; do
			raw -l -t USER "$_file" | grep -q ' data=cafe$' || fail "$_file: not traced to the end"
		done
		echo "$(paste -s -d ' ' said), $(cat files/own.* files/by_root.* | wc -c) bytes of records"
	done
}

# keep FILE: ends the test as failed, with the file among its results, and what can be read of it.
keep() {
	cp "$1" "$KT_OUT/file"
	"$KT_BIN/ktr_raw" "$1" >"$KT_OUT/records"
	exit 1
}

made=0
rounds $(scaled 1 25)
note "$all calls, $made records"
check_ge "$made" "$all" "records"
is_stock || wait_for 10 idle
