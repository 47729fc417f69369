#!/bin/sh
# Checks formatting and lints with warnings denied, the manual pages, and the finished module for
# each target.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

cargo fmt --all --check
env $LINTED cargo build -q --all-targets
sh scripts/standin.sh build -q -p ktrace-standin --all-targets
format=$(tool clang-format) || die "no clang-format: run make setup"
"$format" --dry-run -Werror kmod/shims/*.[ch] kmod/src/release/*.h tests/vm/guest/progs*/*.[ch]

# Both kinds of make run the same commands.
gnu=make
make --version 2>/dev/null | grep -q GNU || gnu=gmake
if have "$gnu" && have bmake; then
	for goal in $(sed -n 's/^\.PHONY: //p' Makefile); do
		[ "$(env -u MAKEFLAGS "$gnu" -n --no-print-directory "$goal")" = "$(env -u MAKEFLAGS bmake -n "$goal")" ] ||
		    die "make $goal: bmake runs other commands than $gnu"
	done
fi

# Ignore references that depend on manual pages installed here.
man=$(mandoc -T lint share/man/man*/* 2>&1 |
    grep -v -e 'referenced manual not found' -e 'outdated mandoc.db') || true
[ -z "$man" ] || die "$man"
backspace=$(printf '\b')
for page in share/man/man*/*; do
	mandoc -T utf8 "$page" | sed "s/.$backspace//g" | grep -q '^SEE ALSO$' || die "$page: not rendered to its end"
done

# Checks the sources with the headers of KERNEL and MACHINE, and the module built from them.
lint_module() {
	kernel_flags
	env $LINTED sh scripts/module.sh -o "$TARGET/lint.ko"
	# A shared object has the bounds of its linker sets as undefined symbols.
	undefined='^__(start|stop)_set_.*_set$'
	[ "$MACHINE" = arm64 ] || undefined='^$'
	cat tests/artifact/symbols.txt "kmod/src/machine/$MACHINE.symbols" "kmod/src/release/freebsd$KERNEL.symbols" |
	    grep -v -E -e '^#' -e "$undefined" | LC_ALL=C sort >"$TARGET/symbols.txt"
	env $LINTED cargo run -q --bin ktrace-artifact -- check --allow "$TARGET/symbols.txt" "$TARGET/ktrace_rs.ko"
}

chosen=$(targets)
for target in $chosen; do
	(
		KERNEL=${target%-*}
		MACHINE=${target#*-}
		lint_module
		# These programs also have arm64 code.
		if [ "$MACHINE" = arm64 ]; then
			sh scripts/arm64.sh build
			sh scripts/standin.sh build -q -p ktrace-standin
		fi
	)
done
