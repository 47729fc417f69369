#!/bin/sh
# Shows that each dtrace(1) probe fires as often, and with the same numbers, as the statistics say, and
# that both agree with the trace files and with the writes that the file system gets.
# timeout: 240
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

command -v dtrace >/dev/null || skip "the image has no dtrace(1)"
# kinst, and on some machines fbt, must be unloaded before the module is loaded again.
at_exit "module_unload; kldunload dtraceall 2>/dev/null"
module_load
kldload -n dtraceall 2>/dev/null || kldload -n sdt 2>/dev/null || skip "no modules for dtrace(1)"

dtrace -x nolibs -l -P ktrace_rs >listed || fail "dtrace -l: status $?"
cat listed
for probe in made queued committed dropped full-begin full-end; do
	check_has listed " $probe\$"
done

# Many pages are read with little room, so that records are queued and dropped. Many records are
# written, so that programs wait.
little_room
cat >work.sh <<'EOF'
for policy in record return batch; do
	sysctl -q kern.ktrace_rs.policy=$policy
	ktrace -t f -f faults.$policy.out "$KT_BIN/big_read" 4096
	ktrace -i -t c -f calls.$policy.out "$KT_BIN/crowd" call 2 2000
done
EOF
for name in records dropped bytes commits; do
	eval "${name}_before=\$(ktrace_rs_stat $name)"
done
cat >script.d <<'EOF'
ktrace_rs:::made { @made = count(); }
ktrace_rs:::queued { @queued = count(); @most = max(arg2); }
ktrace_rs:::committed { @commits = count(); @bytes = sum(arg1); @records = sum(arg2); @ns = sum(arg3); }
/* Writes of this thread to the file since its last commit. */
BEGIN { self->vp = arg0; self->writes = 0; }
vfs:vop:vop_write:entry { self->writes = self->vp == arg0 ? self->writes + 1 : 1; self->vp = arg0; }
ktrace_rs:::committed /self->vp == arg0/ { @writes = sum(self->writes); }
ktrace_rs:::committed { self->writes = 0; self->vp = 0; }
ktrace_rs:::dropped { @dropped = count(); }
ktrace_rs:::full-begin { @begun = count(); }
ktrace_rs:::full-end { @ended = count(); }
END {
	printa("made %@d\n", @made);
	printa("queued %@d\n", @queued);
	printa("most %@d\n", @most);
	printa("commits %@d\n", @commits);
	printa("writes %@d\n", @writes);
	printa("bytes %@d\n", @bytes);
	printa("records %@d\n", @records);
	printa("ns %@d\n", @ns);
	printa("dropped %@d\n", @dropped);
	printa("begun %@d\n", @begun);
	printa("ended %@d\n", @ended);
}
EOF
dtrace -x nolibs -q -c "sh work.sh" -s script.d >out 2>err || fail "dtrace: status $?: $(cat err)"
cat out
said() {
	awk -v name="$1" '$1 == name { print $2; found = 1 } END { if (!found) print 0 }' out
}
for name in records dropped bytes commits; do
	eval "check_eq \"\$(said $name)\" \$((\$(ktrace_rs_stat $name) - ${name}_before)) $name"
done
check_eq "$(said writes)" "$(said commits)" "writes that the file system got"
found=0
for file in faults.*.out calls.*.out; do
	found=$((found + $(records "$file")))
done
check_eq "$found" "$(said records)" "records in the files"
check_eq $(($(cat faults.*.out calls.*.out | wc -c))) "$(said bytes)" "bytes in the files"
check_ge "$(said dropped)" 1 dropped
check_eq "$(said made)" $(($(said records) + $(said dropped))) "made"
check_ge "$(said queued)" 1 queued
check_le "$(said most)" 4096 "most bytes queued"
check_ge "$(said begun)" 1 "full-begin"
check_eq "$(said ended)" "$(said begun)" "full-end"
check_ge "$(said ns)" 1000 "time of writes"
wait_for 5 idle
module_unload
