//! Tests that memory is bounded.

use ktrace_format::Payload;
use ktrcheck::{MAX_THREADS, Order};

use crate::trace::{Trace, check};

#[test]
fn more_threads_than_are_followed() {
    let mut trace = Trace::new();
    for thread in 0..MAX_THREADS as i64 + 2 {
        trace.record((845, 100_000 + thread), Payload::User(b""));
    }
    // The end of a process frees its entries, whichever of its threads ends it.
    let ended = (845, 1);
    trace.record(ended, Payload::ProcDtor).record((846, 99), Payload::User(b""));
    let (found, summary) = check(&trace.bytes, Order::File);
    assert!(found.is_empty());
    assert_eq!((summary.threads, summary.not_followed), (MAX_THREADS as u64 + 1, 3));
    assert_eq!(summary.records, MAX_THREADS as u64 + 4);
}
