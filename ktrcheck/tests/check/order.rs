//! Order in time.

use ktrcheck::{Order, What};

use crate::trace::{Trace, check};

const ONE: (i32, i64) = (845, 100_123);
const OTHER: (i32, i64) = (846, 100_124);

#[test]
fn a_thread_that_goes_back_is_found_twice() {
    let mut trace = Trace::new();
    trace.microseconds = 5;
    trace.call(ONE, 3);
    trace.microseconds = 4;
    trace.ret(ONE, 3);
    assert_eq!(trace.found(), [(1, What::OlderInFile), (1, What::OlderInThread)]);
}

#[test]
fn threads_that_are_written_late_are_in_order_themselves() {
    let mut trace = Trace::new();
    trace.microseconds = 5;
    trace.call(ONE, 3);
    trace.microseconds = 4;
    trace.call(OTHER, 3);
    assert_eq!(trace.found(), [(1, What::OlderInFile)]);
    let (found, summary) = check(&trace.bytes, Order::Thread);
    assert!(found.is_empty() && summary.is_whole());
}

#[test]
fn records_of_the_same_time_are_in_order() {
    let mut trace = Trace::new();
    trace.call(ONE, 3);
    trace.microseconds -= 1;
    trace.ret(ONE, 3);
    assert_eq!(trace.found(), []);
}
