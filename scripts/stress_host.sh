#!/bin/sh
# stress_host.sh: runs the host tests at length, and shows that they can fail.
#
# SCHEDULES=N          schedules of each scenario and scheduler
# PROPTEST_CASES=N     inputs of each property
# FUZZ_RUNS=N          inputs of the decoder, ten for each of ktrcheck
set -eu
cd "$(dirname "$0")/.."

SCHEDULES=${SCHEDULES:-5000} cargo test -q -p ktrace-schedules
PROPTEST_CASES=${PROPTEST_CASES:-10000} cargo test -q -p ktrace-format -p ktrace-engine-tests -p ktrcheck
FUZZ_RUNS=${FUZZ_RUNS:-50000000} sh scripts/fuzz.sh
sh scripts/mutants.sh
