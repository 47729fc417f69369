#!/bin/sh
# fuzz.sh [LIBFUZZER OPTION...]: feeds the decoder of trace records with what libFuzzer makes of the
# seeds in tests/fuzz/corpus. What makes it fail is left in target/fuzz.
#
# FUZZ_RUNS=N   inputs; the default takes some seconds
set -eu
cd "$(dirname "$0")/.."

target=target/fuzz
found=$target/corpus
host=$(rustc -vV | sed -n 's/^host: //p')

# Instrumented as cargo-fuzz does it; --target spares the build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build -q --profile fuzz -p ktrace-fuzz --features libfuzzer --target "$host" \
    --target-dir "$target"

rm -rf "$found"
mkdir -p "$found"
if ! "$target/$host/fuzz/fuzz-decode" -runs="${FUZZ_RUNS:-3000000}" -seed=2005 -max_len=4096 -timeout=10 \
    -artifact_prefix="$target/" -print_final_stats=1 "$@" "$found" tests/fuzz/corpus >"$target/log" 2>&1; then
	cat "$target/log" >&2
	exit 1
fi
# Without its counters it would be blind.
grep -q 'inline 8-bit counters' "$target/log"
grep 'DONE' "$target/log"
