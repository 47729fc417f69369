#!/bin/sh
# sysctl kern.ktrace_rs: the names, and that they count what is in the file.
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load
types="syscall sysret namei genio psig csw user struct sysctl procctor procdtor capfail fault faultend struct_array"

sysctl kern.ktrace_rs
[ -n "$(sysctl -n kern.ktrace_rs.version)" ] || fail "no version"
case $(uname -r) in
"$(sysctl -n kern.ktrace_rs.target | cut -d . -f 1)".*) ;;
*)	fail "target $(sysctl -n kern.ktrace_rs.target) on $(uname -r)" ;;
esac
names="records bytes commits records_per_commit bytes_per_commit waited dropped helped queued oldest queued_max procs files"
for type in $types; do
	names="$names type.$type.records type.$type.dropped"
done
for name in $names; do
	eval "$(echo "$name" | tr . _)_before=\$(ktrace_rs_stat $name)" || fail "no kern.ktrace_rs.stats.$name"
done

ktrace -i -t cfinpstuwy+ -f out sh -c 'kill -0 $$; ls -l / | wc -l; sysctl kern.ostype'
wait_for 5 idle
raw -c out >counts
delta() {
	_new=$(ktrace_rs_stat "$1")
	eval "echo \$((_new - $(echo "$1" | tr . _)_before))"
}
check_eq "$(delta records)" "$(awk '{ n += $3 } END { print n }' counts)" "records"
check_eq "$(delta bytes)" "$(stat -f %z out)" "bytes"
check_eq "$(delta dropped)" 0 "dropped"
check_ge "$(delta commits)" 1 "commits"
check_le "$(delta commits)" "$(delta records)" "commits"
commits=$(ktrace_rs_stat commits)
check_eq "$(ktrace_rs_stat records_per_commit)" $(($(ktrace_rs_stat records) / commits)) "records of a commit"
check_eq "$(ktrace_rs_stat bytes_per_commit)" $(($(ktrace_rs_stat bytes) / commits)) "bytes of a commit"
check_ge "$(delta waited)" 1 "microseconds of writes"
for type in $types; do
	name=$(echo "$type" | tr a-z A-Z)
	check_eq "$(delta "type.$type.records")" "$(awk -v t="$name" '$2 == t { n += $3 } END { print n + 0 }' counts)" "$name records"
	check_eq "$(delta "type.$type.dropped")" 0 "$name drops"
done

# procs and files while something is traced.
spawn "$KT_BIN/tick"
one=$spawned
spawn "$KT_BIN/tick"
ktrace -t u -f a.out -p "$one"
ktrace -a -t u -f a.out -p "$spawned"
check_eq "$(ktrace_rs_stat procs) $(ktrace_rs_stat files)" "2 1" "procs and files"
ktrace -t u -f b.out -p "$spawned"
check_eq "$(ktrace_rs_stat procs) $(ktrace_rs_stat files)" "2 2" "procs and files"
ktrace -C
wait_for 5 idle
# None of these is for writing.
for name in version target stats.records stats.dropped; do
	! sysctl "kern.ktrace_rs.$name=1" >/dev/null 2>&1 || fail "kern.ktrace_rs.$name can be written"
done
module_unload
