#!/bin/sh
# fuzz.sh [LIBFUZZER OPTION...]: fuzzes the decoder of trace records, and ktrcheck, with libFuzzer.
#
# The seeds are in tests/fuzz/corpus and corpus-ktrcheck. Inputs that fail are left in target/fuzz.
#
# FUZZ_RUNS=N   inputs of the decoder, ten for each of ktrcheck; the default takes a few seconds
set -eu
cd "$(dirname "$0")/.."

target=target/fuzz
runs=${FUZZ_RUNS:-3000000}
host=$(rustc -vV | sed -n 's/^host: //p')

# Instrumented as by cargo-fuzz. --target exempts the build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build -q --profile fuzz -p ktrace-fuzz --features libfuzzer --target "$host" \
    --target-dir "$target"

# fuzz NAME CORPUS RUNS OPTION...
fuzz() {
	name=$1
	corpus=$2
	count=$3
	shift 3
	found=$target/found-$name
	log=$target/$name.log
	rm -rf "$found"
	mkdir -p "$found"
	if ! "$target/$host/fuzz/$name" -runs="$count" -seed=2005 -max_len=4096 -timeout=10 \
	    -artifact_prefix="$target/" -print_final_stats=1 "$@" "$found" "$corpus" >"$log" 2>&1; then
		cat "$log" >&2
		exit 1
	fi
	# Fail if libFuzzer has no counters, because it is then blind.
	grep -q 'inline 8-bit counters' "$log"
	echo "$name: $(grep 'DONE' "$log")"
}

fuzz fuzz-decode tests/fuzz/corpus "$runs" "$@"
fuzz fuzz-ktrcheck tests/fuzz/corpus-ktrcheck "$((runs / 10))" "$@"
