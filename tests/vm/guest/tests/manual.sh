#!/bin/sh
# Shows that the manual page lists every sysctl of the module and no other.
#
# The system's own mandoc(1), if there is one, renders the page.
# kernel: plain
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module
module_load
module_only "its manual page"

# variables NAME: lists the variables below a node, without the nodes in between.
variables() {
	sysctl -aN "$1" | sort -r | awk 'index(last, $1 ".") != 1 { print } { last = $1 }'
}

# Each record type has the same two variables.
variables kern.ktrace_rs | sed 's/\.type\.[a-z_]*\./.type.*./' | sort -u >module
sed -n 's/^\.It Va \(kern\.ktrace_rs\.[^ ]*\)$/\1/p' "$KT/ktrace_rs.4" | sort >page
check_ge "$(wc -l <module)" 20 "sysctls"
diff page module || fail "page and module differ"

variables kern.ktrace_rs.stats.type | sed 's/.*\.type\.\([a-z_]*\)\..*/\1/' | sort -u >module
sed -n '/^The types are/,/^\.El/p' "$KT/ktrace_rs.4" | sed -n 's/^\.Va \([a-z_]*\) .*/\1/p' |
    if of_15; then cat; else grep -v -x -e args -e envs -e exterr; fi | sort >page
diff page module || fail "page and module differ in record types"

if command -v mandoc >/dev/null; then
	mandoc "$KT/ktrace_rs.4" >rendered || fail "mandoc: status $?"
else
	without "mandoc(1)"
fi
