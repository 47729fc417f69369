#!/bin/sh
# Shows that both backends give random calls the same results, and leave the same records of them.
#
# Processes of root and of ordinary users make system calls, start, stop and end one another, and
# change one another's traces; see progs/differ.c. Trace files are unlinked. With the policy "record"
# they are also truncated, full and unmounted. The policy "batch" has not written the same records at
# such a moment.
# timeout: 900
# full timeout: 14400
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
is_stock && second=stock || second=module
backend stock

# The stock backend never runs out of memory for records.
at_exit "sysctl -q kern.ktrace.request_pool=$(sysctl -n kern.ktrace.request_pool)"
sysctl -q kern.ktrace.request_pool=10000 || fail "sysctl"
at_exit "umount -f work/full work/gone 2>/dev/null"

# prepare OPTION...: creates the directory that the calls work in.
prepare() {
	mkdir -m 777 work work/full work/gone
	case " $* " in
	*" -f "*)
		mount -t tmpfs -o mode=777,size=4m tmpfs work/full || fail "mount"
		mount -t tmpfs -o mode=777 tmpfs work/gone || fail "mount"
		;;
	esac
	(cd work && umask 0 && touch f0 f1 f2 full/f gone/f data &&
	    install -m 600 /dev/null secret && install -m 600 /dev/null private &&
	    ln -s data link && mkfifo fifo && install -m 4755 "$KT_BIN/differ" setid) || fail "prepare"
}

# run FILE OPTION...: makes the calls, and writes their results and records to FILE.
run() {
	_file=$1
	shift
	prepare "$@"
	"$KT_BIN/differ" -s "$seed" "$@" "$PWD/work" >said 2>&1 || {
		cp work/log "$KT_OUT/log"
		fail "$(cat said)"
	}
	cp work/log "$_file"
	made=0
	for _kept in work/kept.*; do
		echo "$_kept" >>"$_file"
		raw -m work/map "$_kept" >mapped
		# By thread: the order of their writes differs.
		sort -s -k 1,1 mapped >>"$_file"
		made=$((made + $(sed -n 's/^records \([0-9]*\) .*/\1/p' raw.err)))
	done
	umount work/full work/gone 2>/dev/null
	rm -rf work
}

# both NAME POLICY OPTION...: makes the calls with each backend, and notes in $bad if they differ.
both() {
	_name=$1 _policy=$2
	shift 2
	note "$_name"
	backend stock
	run stock "$@"
	backend $second
	is_stock || sysctl -q "kern.ktrace_rs.policy=$_policy" || fail "sysctl"
	run second "$@"
	is_stock || wait_for 10 idle
	if cmp -s stock second; then
		echo "$_name: $(cat said), $made records"
		return
	fi
	bad="$bad $_name"
	diff -u stock second >diff
	head -60 diff
	gzip -c diff >"$KT_OUT/$_name.diff.gz"
	gzip -c stock >"$KT_OUT/$_name.stock.gz"
}

seed=${SEED:-$(scaled 1 "$(date +%s)")} calls=$(scaled 500 25000) bad=
note "seed $seed"
both root batch -c "$calls"
both user batch -c "$calls" -u
both root_files record -c "$calls" -f
both user_files record -c "$calls" -u -f
[ -z "$bad" ] || fail "differs from the stock backend:$bad"

note "one call that is made differently is found"
backend stock
run stock -c 100
backend $second
run second -c 100 -x
! diff stock second >found || fail "not found"
cat found
# The result, the arguments, the data, and the return value of the call; and nothing else.
check_eq "$(grep -c '^<' found) $(grep -c '^>' found)" "4 3" "differing lines of each"
