# Settings for the other scripts, which source this file at the top of the checkout: the releases
# and machines, the kernel headers, the tools that build the module, and their flags.
#
# KERNEL=N             major release of FreeBSD to build for: 14 or 15
# MACHINE=NAME         machine to build for: amd64 or arm64
# KERNEL_HEADERS=DIR   headers of another release (a /usr/include of FreeBSD)
# OSRELDATE=N          __FreeBSD_version of these headers, if they do not have it

# Releases and machines that make builds the module for. The first one that KERNEL and MACHINE allow
# is the default of each script. KERNEL=14 MACHINE=arm64 can be built too.
TARGETS="14-amd64 15-amd64 15-arm64"

# Versions of ziglang with the headers of FreeBSD 14 and zig cc, and with those of FreeBSD 15.
ZIGLANG_14=0.15.2
ZIGLANG_15=0.16.0
ZIG_DIR=target/ziglang-$ZIGLANG_14
GENERATED=target/headers
# Compilers that kernels may be built with, as far as Debian packages them.
COMPILERS="clang-16 clang-19"
# Directory of the system emulators, if setup could not install them.
QEMU_DIR=target/qemu
PATH=$PWD/$QEMU_DIR/bin:$PATH
# Cargo's directory for the arm64 programs of the host, which run in an emulated process.
ARM64_DIR=target/emulated
# Command that runs them.
EMULATOR="qemu-aarch64 -cpu max"
# With this in its environment, cargo lints what it builds. The programs of the tests are always built
# so, because lints by a build of their own would compile all of them once more.
LINTED=RUSTC_WORKSPACE_WRAPPER=clippy-driver
# A nightly toolchain that has Miri.
MIRI_TOOLCHAIN=nightly-2026-05-20

die() {
	echo "$0: $*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# Prints the newest available of clang, clang-19, clang-16 ...
tool() {
	for _name in "$1" "$1-19" "$1-18" "$1-17" "$1-16" "$1-15" "$1-14"; do
		if have "$_name"; then
			echo "$_name"
			return 0
		fi
	done
	return 1
}

# Prints the __FreeBSD_version of the headers in the directories.
headers_date() {
	for _dir do
		[ ! -f "$_dir/sys/param.h" ] ||
		    sed -n 's/^#define[[:space:]]*__FreeBSD_version[[:space:]]*\([0-9]*\).*/\1/p' \
			"$_dir/sys/param.h"
	done
}

# Succeeds if the headers determine the release of the module.
one_release() {
	[ -n "${KERNEL_HEADERS:-}" ] || [ "$(uname -s)" = FreeBSD ]
}

# Prints the targets of TARGETS that KERNEL and MACHINE allow.
allowed_targets() {
	for _target in $TARGETS; do
		case $_target in
		${KERNEL:-*}-${MACHINE:-*}) echo "$_target" ;;
		esac
	done
}

# Sets KERNEL and MACHINE if they are unset, and TARGET, the directory of all files for one release
# and machine.
target() {
	if one_release; then
		_date=${OSRELDATE:-$(headers_date "${KERNEL_HEADERS:-/usr/include}")}
		if [ "$(uname -s)" = FreeBSD ]; then
			_date=${_date:-$(uname -U)}
			: "${MACHINE:=$(uname -m)}"
		fi
		[ -n "$_date" ] ||
		    die "the headers in $KERNEL_HEADERS do not say which release they are of: set OSRELDATE"
		: "${MACHINE:=amd64}" "${KERNEL:=$((_date / 100000))}"
	else
		_target=$(allowed_targets | head -n 1)
		_target=${_target:-${TARGETS%% *}}
		: "${KERNEL:=${_target%-*}}" "${MACHINE:=${_target#*-}}"
	fi
	case $KERNEL-$MACHINE in
	14-amd64 | 14-arm64 | 15-amd64 | 15-arm64) ;;
	*) die "KERNEL=$KERNEL MACHINE=$MACHINE: there are 14 and 15, amd64 and arm64" ;;
	esac
	TARGET=target/$KERNEL-$MACHINE
	export KERNEL MACHINE
}

# Prints the targets to build: those of TARGETS that KERNEL and MACHINE allow, or the one named by
# both of them, the headers or the running system.
targets() {
	if one_release || [ -z "$(allowed_targets)" ]; then
		(target && echo "$KERNEL-$MACHINE")
	else
		allowed_targets
	fi
}

# Sets the directories with the kernel headers, and their release.
kernel_headers() {
	target
	case $MACHINE in
	amd64)
		ARCH=x86_64
		MODULE_TARGET=x86_64-unknown-none
		;;
	arm64)
		ARCH=aarch64
		MODULE_TARGET=aarch64-unknown-none-softfloat
		;;
	esac
	if one_release; then
		_dirs=${KERNEL_HEADERS:-/usr/include}
		_date=$(headers_date "$_dirs")
	else
		case $KERNEL in
		14)
			_include=target/ziglang-$ZIGLANG_14
			_date=1402000
			;;
		15)
			_include=target/ziglang-$ZIGLANG_15
			_date=1500068
			;;
		esac
		_include=$_include/ziglang/lib/libc/include
		_dirs="$_include/$ARCH-freebsd-none $_include/generic-freebsd"
	fi
	OSRELDATE=${OSRELDATE:-$_date}
	[ -n "$OSRELDATE" ] || die "there are no kernel headers in $_dirs"
	[ "$KERNEL" = $((OSRELDATE / 100000)) ] ||
	    die "KERNEL=$KERNEL, but the headers are of $((OSRELDATE / 100000)): set KERNEL_HEADERS"
	# Headers that only a kernel build generates. The module uses nothing of them.
	mkdir -p "$GENERATED"
	for _header in opt_global.h vnode_if.h vnode_if_newproto.h vnode_if_typedef.h; do
		[ -f "$GENERATED/$_header" ] || : >"$GENERATED/$_header"
	done
	KERNEL_INCLUDES=
	for _dir in "$GENERATED" $_dirs; do
		case $_dir in
		/*) ;;
		*) _dir=$PWD/$_dir ;;
		esac
		KERNEL_INCLUDES="$KERNEL_INCLUDES -isystem $_dir"
	done
}

# Sets KERNEL_CFLAGS for the C compiler and bindgen, and BUILD, cargo's directory for the module.
kernel_flags() {
	kernel_headers
	case $MACHINE in
	amd64) _machine_flags="-mcmodel=kernel -mno-red-zone -mno-mmx -mno-sse -msoft-float" ;;
	arm64) _machine_flags="-fPIC -mgeneral-regs-only -ffixed-x18 -mno-outline-atomics -mbranch-protection=bti" ;;
	esac
	KERNEL_CFLAGS="-target $ARCH-unknown-freebsd$((OSRELDATE / 100000)) -nostdinc$KERNEL_INCLUDES
	    -D_KERNEL -DKLD_MODULE -DKTRACE -ffreestanding -fno-common
	    -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer $_machine_flags -fno-asynchronous-unwind-tables"
	if ! grep -qs "define[[:space:]]*__FreeBSD_version" ${KERNEL_HEADERS:+"$KERNEL_HEADERS/sys/param.h"} \
	    /dev/null && [ "$(uname -s)" != FreeBSD ]; then
		KERNEL_CFLAGS="$KERNEL_CFLAGS -D__FreeBSD_version=$OSRELDATE"
	fi
	KERNEL_CFLAGS=$(echo $KERNEL_CFLAGS)
	KERNEL_CC=$(tool clang) || die "no clang: run make setup"
	# The modules for all targets share a directory, so that the programs that run during the build
	# are built once.
	BUILD=target/module
	export KERNEL_CFLAGS KERNEL_CC OSRELDATE
}
