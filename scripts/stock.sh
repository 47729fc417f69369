#!/bin/sh
# Compiles the stand-in's stock backend, with the flags of kernels of this MACHINE.
#
# stock.sh OUTPUT [COMPILER [FLAG...]]
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

output=$1
shift
kernel_flags
ld=$(tool ld.lld) || die "no ld.lld: run make setup"
if [ $# -eq 0 ]; then
	set -- "$KERNEL_CC" -O2
fi
# A kernel of 15.1 has all functions of any release.
case $KERNEL in
14) freebsd=1402 ;;
*) freebsd=${KERNEL}01 ;;
esac
case $MACHINE in
amd64)
	machine_flags="-mno-red-zone -mno-mmx -mno-sse -msoft-float"
	emulation=elf_x86_64_fbsd
	;;
arm64)
	machine_flags="-mgeneral-regs-only -ffixed-x18 -mno-outline-atomics"
	emulation=aarch64elf
	;;
esac
compiler=$1
shift
"$compiler" -target "$ARCH-unknown-freebsd$KERNEL" -DFREEBSD=$freebsd -ffreestanding -fPIC -fvisibility=protected \
    -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -fno-asynchronous-unwind-tables -Wall -Wextra -Werror \
    $machine_flags "$@" -c -o "$output.o" tests/standin/stock/kern_ktrace.c
# Bind references to the object's own names, so that no relocations are needed.
"$ld" -m $emulation -shared -Bsymbolic -z separate-code --hash-style=sysv -o "$output" "$output.o"
rm -f "$output.o"
