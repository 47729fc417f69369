#!/bin/sh
# Loading twice: EEXIST, and what is loaded goes on working.
# core
. "$KT/lib.sh"
. "$KT/tests/common.subr"
need_module

module_load
check_fails 'already loaded|File exists' kldload "$KT_MODULE"
# The same under another name, which the linker does not know to be the same file.
cp "$KT_MODULE" ./another.ko
check_fails 'already loaded|File exists' kldload ./another.ko
ktrace -t c -f out true || fail "ktrace does not work"
check_ge "$(records out)" 4 "records"
check_ok idle
module_unload
