//! Tests of CALL and RET pairing.

use ktrcheck::What;

use crate::trace::Trace;

const ONE: (i32, i64) = (845, 100_123);
const OTHER: (i32, i64) = (845, 100_124);

#[test]
fn a_process_from_fork_to_exit_is_whole() {
    let mut trace = Trace::new();
    // fork(2), execve(2), a thread that begins with thr_new(2), thr_exit(2), exit(2)
    trace.ctor(ONE).ret(ONE, 2).call(ONE, 59).ctor(ONE).ret(ONE, 59).call(ONE, 455).ret(OTHER, 455);
    trace.ret(ONE, 455).call(OTHER, 431).call(ONE, 1);
    trace.record(ONE, ktrace_format::Payload::ProcDtor);
    assert_eq!(trace.found(), []);
}

#[test]
fn a_call_without_ret_is_found_when_the_next_begins() {
    let mut trace = Trace::new();
    trace.call(ONE, 3).call(OTHER, 4).call(ONE, 5).ret(OTHER, 4).ret(ONE, 5);
    assert_eq!(trace.found(), [(2, What::CallInCall { code: 5, open: 3 })]);
}

#[test]
fn a_ret_without_call_is_found_unless_it_is_the_first() {
    let mut trace = Trace::new();
    trace.ret(ONE, 3).ret(ONE, 3).call(ONE, 4).ret(ONE, 5);
    assert_eq!(trace.found(), [(1, What::RetWithoutCall(3)), (3, What::RetOfOther { code: 5, open: 4 })]);
}

#[test]
fn sigreturn_of_arm64_returns_without_a_number() {
    let mut trace = Trace::new();
    trace.call(ONE, 417).ret(ONE, -1).call(ONE, 417).ret(ONE, 417).call(ONE, 3).ret(ONE, -1);
    assert_eq!(trace.found(), [(5, What::RetOfOther { code: -1, open: 3 })]);
}

#[test]
fn the_last_call_of_a_thread_needs_no_ret() {
    let mut trace = Trace::new();
    trace.call(ONE, 3).ret(ONE, 3).call(ONE, 3).call(OTHER, 4);
    assert_eq!(trace.found(), []);
}

#[test]
fn tracing_may_end_in_a_call_and_begin_in_another() {
    let mut trace = Trace::new();
    trace.call(ONE, 3).call(OTHER, 4).ctor(ONE).ret(ONE, 7).call(OTHER, 5).ret(OTHER, 5);
    assert_eq!(trace.found(), []);
    trace.ret(OTHER, 5);
    assert_eq!(trace.found(), [(6, What::RetWithoutCall(5))]);
}

#[test]
fn a_process_with_the_id_of_one_that_ended_begins_anew() {
    let mut trace = Trace::new();
    trace.call(ONE, 3).record(ONE, ktrace_format::Payload::ProcDtor).ret(ONE, 2).call(ONE, 1);
    assert_eq!(trace.found(), []);
}

#[test]
fn what_does_not_return_may_be_followed_by_a_new_thread_of_the_same_id() {
    let mut trace = Trace::new();
    trace.call(ONE, 431).ret(ONE, 455).call(ONE, 463).call(ONE, 3);
    assert_eq!(trace.found(), []);
}

#[test]
fn a_drop_mark_is_found_and_nothing_is_asked_for_over_it() {
    let mut trace = Trace::new();
    trace.call(ONE, 3).call(OTHER, 4);
    trace.drop = true;
    trace.call(ONE, 5).ret(ONE, 5).ret(OTHER, 6);
    assert_eq!(trace.found(), [(2, What::Drop)]);
    let (_, summary) = trace.check();
    assert_eq!(*summary.drops.get(ktrace_format::Kind::Syscall), 1);
    assert_eq!(summary.processes.get(&845).map(|process| process.drops), Some(1));
    // A drop of another process has no effect.
    let mut trace = Trace::new();
    trace.call(ONE, 3);
    trace.drop = true;
    trace.call((846, 100_200), 5).call(ONE, 4);
    assert_eq!(trace.found(), [(1, What::Drop), (2, What::CallInCall { code: 4, open: 3 })]);
}
