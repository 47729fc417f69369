#!/bin/sh
# Shows that sysctl kern.ktrace_rs has the right names, and that its counters match the file.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load
types="syscall sysret namei genio psig csw user struct sysctl procctor procdtor capfail fault faultend struct_array"
! of_15 || types="$types args envs exterr"

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
# counters: prints the name and value of each existing counter.
counters() {
	sysctl kern.ktrace_rs.stats | sed 's/^kern\.ktrace_rs\.stats\.//; s/: / /'
}
counters >before
there=" $(cut -d ' ' -f 1 before | paste -s -d ' ' -) "
for name in $names; do
	case $there in
	*" $name "*) ;;
	*)	fail "no kern.ktrace_rs.stats.$name" ;;
	esac
done

ktrace -i -t cfinpstuwy+ -f out sh -c 'kill -0 $$; ls -l / | wc -l; sysctl kern.ostype'
wait_for 5 idle
raw -c out >counts
counters >after
awk -v types="$types" -v size="$(stat -f %z out)" '
    function check(name, want) {
	if (delta[name] != want) { print name ": " delta[name] " more, want " want; bad = 1 }
    }
    FILENAME == "before" { delta[$1] = -$2; next }
    FILENAME == "after" { delta[$1] += $2; next }
    { found[tolower($2)] += $3; all += $3 }
    END {
	check("records", all)
	check("bytes", size)
	check("dropped", 0)
	if (delta["commits"] < 1 || delta["commits"] > delta["records"]) { print delta["commits"] " commits"; bad = 1 }
	if (delta["waited"] < 1) { print "no time of writes"; bad = 1 }
	for (n = split(types, type, " "); n > 0; n--) {
		check("type." type[n] ".records", found[type[n]] + 0)
		check("type." type[n] ".dropped", 0)
	}
	exit bad
    }' before after counts || fail "what is counted is not what is in the file"
commits=$(ktrace_rs_stat commits)
check_eq "$(ktrace_rs_stat records_per_commit)" $(($(ktrace_rs_stat records) / commits)) "records of a commit"
check_eq "$(ktrace_rs_stat bytes_per_commit)" $(($(ktrace_rs_stat bytes) / commits)) "bytes of a commit"

# Check procs and files while something is traced.
spawn_tick
one=$spawned
spawn_tick
ktrace -t u -f a.out -p "$one"
ktrace -a -t u -f a.out -p "$spawned"
check_eq "$(ktrace_rs_stat procs) $(ktrace_rs_stat files)" "2 1" "procs and files"
ktrace -t u -f b.out -p "$spawned"
check_eq "$(ktrace_rs_stat procs) $(ktrace_rs_stat files)" "2 2" "procs and files"
ktrace -C
wait_for 5 idle
# All of these are read-only.
for name in version target stats.records stats.dropped; do
	! sysctl "kern.ktrace_rs.$name=1" >/dev/null 2>&1 || fail "kern.ktrace_rs.$name can be written"
done
module_unload
