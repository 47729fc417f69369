#!/bin/sh
# Formatting and lints with warnings denied, the manual pages, and the finished module's artifact check, for every
# release whose headers there are.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

cargo fmt --all --check
cargo clippy -q --all-targets -- -D warnings
sh scripts/standin.sh clippy -q -p ktrace-standin --all-targets -- -D warnings
format=$(tool clang-format) || die "no clang-format: run make setup"
"$format" --dry-run -Werror kmod/shims/*.c kmod/shims/*.h kmod/src/machine/*.h kmod/src/release/*.h

# What else is installed here says nothing about FreeBSD's manual.
man=$(mandoc -T lint share/man/man*/* 2>&1 |
    grep -v -e 'referenced manual not found' -e 'outdated mandoc.db') || true
[ -z "$man" ] || die "$man"
backspace=$(printf '\b')
for page in share/man/man*/*; do
	mandoc -T utf8 "$page" | sed "s/.$backspace//g" | grep -q '^SEE ALSO$' || die "$page: not rendered to its end"
done

# lint_module FILE: the sources with the headers of this KERNEL and MACHINE, and FILE, which was made of them.
lint_module() {
	kernel_flags
	RUSTC_BOOTSTRAP=1 cargo clippy -q --release -p ktrace_rs --target "$MODULE_TARGET" -Zbuild-std=core,alloc \
	    --target-dir "$BUILD" --features "${FEATURES:-}" -- -D warnings
	# A shared object has the bounds of its linker sets.
	undefined='^__(start|stop)_set_.*_set$'
	[ "$MACHINE" = arm64 ] || undefined='^$'
	cat tests/artifact/symbols.txt "kmod/src/machine/$MACHINE.symbols" "kmod/src/release/freebsd$KERNEL.symbols" |
	    grep -v -E -e '^#' -e "$undefined" | LC_ALL=C sort >"$BUILD/symbols.txt"
	cargo run -q -p ktrace-artifact -- check --allow "$BUILD/symbols.txt" "$1"
}

lint_module target/ktrace_rs.ko
if [ "$(uname -s)" != FreeBSD ] && [ -z "${KERNEL_HEADERS:-}" ]; then
	done=$MACHINE-$KERNEL
	export MACHINE KERNEL OSRELDATE FEATURES
	for MACHINE in amd64 arm64; do
		FEATURES=
		[ "$MACHINE" = amd64 ] || FEATURES=$MACHINE
		for KERNEL in 14 15; do
			[ "$MACHINE-$KERNEL" != "$done" ] || continue
			OSRELDATE=
			module=target/$MACHINE-$KERNEL/ktrace_rs.ko
			sh scripts/module.sh -o "$module"
			(lint_module "$module")
		done
	done
	export MACHINE=arm64 KERNEL=14 OSRELDATE=
	sh scripts/arm64.sh clippy -- -D warnings
	sh scripts/standin.sh clippy -q -p ktrace-standin -- -D warnings
fi
