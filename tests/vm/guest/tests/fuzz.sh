#!/bin/sh
# Shows that random system calls, ktrace(2) and utrace(2) among them, neither break the tracer nor
# leak memory.
#
# Eight processes of an ordinary user pass pointers, lengths, counts and sizes that no program would
# use. Forbidden requests are refused, and root's traces stay on. The files hold whole records with
# only the processes' own data: no kernel address, no data of others, and no padding.
# timeout: 240
# full timeout: 3600
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
is_stock || need_module
module_load
processes=8
calls=$(scaled 2000 5000)
mkdir files
chmod 777 files

# rounds N: runs N rounds, each with traces of its own.
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

# keep FILE: ends the test as failed, and keeps the file and its readable records among the results.
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
