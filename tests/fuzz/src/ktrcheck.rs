//! ktrcheck under libFuzzer; `scripts/fuzz.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ktrace_fuzz::check_trace(bytes));
