//! Tests of timestamp order.

use ktrace_format::{Csw, Payload};
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

/// Adds a context switch record made at `microseconds`.
fn switch(trace: &mut Trace, thread: (i32, i64), out: bool, user: bool, microseconds: i64) {
    trace.microseconds = microseconds;
    trace.record(thread, Payload::Csw(Csw { out, user, wmesg: b"nanslp" }));
}

#[test]
fn the_stop_of_a_sleep_may_be_older_than_what_others_did_meanwhile() {
    let mut trace = Trace::new();
    trace.microseconds = 5;
    trace.call(ONE, 3);
    trace.microseconds = 9;
    trace.call(OTHER, 3);
    switch(&mut trace, ONE, true, false, 7);
    switch(&mut trace, ONE, false, false, 10);
    assert_eq!(trace.found(), []);
    // The next record is compared with the record before the backdated one.
    switch(&mut trace, ONE, true, false, 8);
    trace.microseconds = 9;
    trace.ret(OTHER, 3);
    assert_eq!(trace.found(), [(4, What::OlderInThread), (5, What::OlderInFile)]);
}

#[test]
fn no_other_context_switch_may_be_older() {
    for (out, user) in [(false, false), (false, true), (true, true)] {
        let mut trace = Trace::new();
        trace.microseconds = 9;
        trace.call(OTHER, 3);
        switch(&mut trace, ONE, out, user, 7);
        assert_eq!(trace.found(), [(1, What::OlderInFile)]);
    }
}
