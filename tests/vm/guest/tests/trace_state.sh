#!/bin/sh
# Shows that outside readers of the trace state continue to work under the module.
#
# They are ps(1) and its kinfo_proc, procstat -f, procctl(PROC_TRACE_CTL), fstat and
# kern.features.ktrace. kern.ktrace.genio_size is honoured.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
module_load

check_eq "$(sysctl -n kern.features.ktrace)" 1 "kern.features.ktrace"
spawn_tick
tracep() {
	"$KT_BIN/ktr_call" state "$1" | cut -d ' ' -f 1
}
traceflag() {
	"$KT_BIN/ktr_call" state "$1" | cut -d ' ' -f 2
}

check_eq "$("$KT_BIN/ktr_call" state "$spawned")" "0x0 0" "an untraced process"
ktrace -t cu -f out -p "$spawned"
# KTRFAC_ROOT, and SYSCALL, SYSRET, USER, PROCCTOR, PROCDTOR.
flags=0x80000c86
check_eq "$(traceflag "$spawned")" $flags "traceflag"
check_ne "$(tracep "$spawned")" 0x0 "tracep"
check_eq "$(ps -o ktrace= -p "$spawned" | tr -d ' ')" "${flags#0x}" "ps"
if ps -L | grep -qw tracep; then
	check_ne "$(ps -o tracep= -p "$spawned" | tr -d ' ')" 0 "ps -o tracep"
else
	without "ps -o tracep"
fi
procstat -f "$spawned"
procstat -h -f "$spawned" | awk '$3 == "trace" { print $4, $NF }' >trace
check_eq "$(cat trace)" "v $(realpath out)" "procstat -f"
check_eq "$("$KT_BIN/ktr_call" procctl "$spawned" 2)" EBUSY "PROC_TRACE_CTL_DISABLE on a traced process"
fstat -p "$spawned" | awk '$4 == "tr"' >fstat.out
check_eq "$(wc -l <fstat.out | tr -d ' ')" 1 "fstat"

if ! is_stock; then
	note "KTRFAC_DROP, which no record has set"
	check_eq "$("$KT_BIN/ktr_call" ktrace "$PWD/out" set 0x20000006 "$spawned")" ok "set"
	check_eq "$(traceflag "$spawned")" $flags "traceflag with KTRFAC_DROP"
	check_eq "$("$KT_BIN/ktr_call" ktrace "$PWD/out" set 0x20000000 "$spawned")" EINVAL "nothing but KTRFAC_DROP"
fi

untrace "$spawned"
check_eq "$("$KT_BIN/ktr_call" state "$spawned")" "0x0 0" "after clear"
! procstat -h -f "$spawned" | grep -q ' trace ' || fail "procstat -f after clear"
check_eq "$("$KT_BIN/ktr_call" procctl "$spawned" 2)" ok "PROC_TRACE_CTL_DISABLE after clear"

note "genio_size"
old=$(sysctl -n kern.ktrace.genio_size)
at_exit "sysctl -q kern.ktrace.genio_size=$old"
for size in 0 1 100 8192; do
	sysctl -q kern.ktrace.genio_size=$size
	ktrace -t i -f genio.out dd if=/dev/zero of=/dev/null bs=8192 count=1 2>/dev/null
	kdump -f genio.out | sed -En 's/.*fd . (read|wrote) ([0-9]+) byte.*/\1 \2/p' >sizes
	check_has sizes "^read $size\$"
	check_has sizes "^wrote $size\$"
done
wait_for 5 idle
