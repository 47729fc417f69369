#!/bin/sh
# Shows that a second load fails with EEXIST, and the loaded module continues to work.
# core
# kernel: debug
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
check_fails 'already loaded|File exists' kldload "$KT_MODULE"
# The same file under another name, which the linker takes for a different file.
cp "$KT_MODULE" ./another.ko
check_fails 'already loaded|File exists' kldload ./another.ko
ktrace -t c -f out true || fail "ktrace does not work"
check_ge "$(records out)" 4 "records"
check_ok idle
module_unload
