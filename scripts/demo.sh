#!/bin/sh
# demo.sh [IMAGE]: traces a command through the module, and prints the output of kdump(1).
#
# It runs on FreeBSD itself as root, in a virtual machine if there is an image, and otherwise on
# Linux in the stand-in for the kernel (tests/standin).
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

image=${1:-}
for name in 15-amd64 14-amd64 15-arm64; do
	named=${XDG_CACHE_HOME:-$HOME/.cache}/ktrace_rs/$name.img
	[ -n "$image" ] || [ ! -f "$named" ] || image=$named
done
target
trace='ktrace -i -t+ -f ktrace.out sh -c "ls -l /; cat /etc/passwd; sleep 1" >/dev/null
kdump -f ktrace.out | tail -n 25
sysctl kern.ktrace_rs.stats.records kern.ktrace_rs.stats.commits kern.ktrace_rs.stats.dropped'

if [ "$(uname -s)" = FreeBSD ] && [ "$(id -u)" = 0 ]; then
	kldload "./$TARGET/ktrace_rs.ko"
	trap 'kldunload ktrace_rs' EXIT
	cd "$(mktemp -d)"
	eval "$trace"
elif [ -f "$image" ]; then
	echo "ktrace_rs.ko in FreeBSD, from $image:"
	cargo run -q -p ktrace-vm -- exec --image "$image" -- \
	    "kldload \$KT_MODULE && $trace; kldunload ktrace_rs"
elif [ "$(uname -s)" = Linux ]; then
	sh scripts/standin.sh demo
else
	die "only root can load the module, and there is no disk image for a virtual machine"
fi
