#!/bin/sh
# each.sh COMMAND...: runs the command for each target, with KERNEL and MACHINE set.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh

chosen=$(targets)
for target in $chosen; do
	(
		export KERNEL="${target%-*}" MACHINE="${target#*-}"
		"$@"
	)
done
