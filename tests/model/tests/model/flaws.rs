//! The model finds deliberate flaws. A model that finds nothing proves nothing.

use ktrace_engine::{Policy, SleepLock as _};
use ktrace_model::Action::{Clear, Help, Look, Set};
use ktrace_model::Step::{Async, Return, Sync};
use ktrace_model::{CommitLock, Faults, Flaw, MaySleep, Scenario, failure};

fn assert_found(flaw: Flaw, scenario: Scenario, expected: &str) {
    let found = failure(flaw, scenario);
    assert!(found.contains(expected), "{flaw:?}: {found:?} was found, and not {expected:?}");
}

#[test]
fn a_write_that_fails_half_done() {
    let scenario = Scenario::of_threads([&[Async, Async, Async]])
        .with_policy(Policy::Return)
        .with_faults(Faults { capacity: Some(1500), ..Faults::NONE });
    assert_found(Flaw::HalfBatch, scenario, "the file holds only whole records");
}

#[test]
fn writes_of_two_processes_that_get_into_each_other() {
    let scenario =
        Scenario::of_threads([&[Sync, Sync]]).and_process(0, [&[Sync, Sync]]).and_other(&[Set(0, 0)]);
    assert_found(Flaw::TornWrites, scenario, "the file holds only whole records");
}

#[test]
fn writes_that_overtake_others() {
    let scenario = Scenario::of_threads([&[Sync, Sync], &[Async]]).with_policy(Policy::Return);
    assert_found(Flaw::WritesOvertake, scenario, "goes back in time");
}

#[test]
fn a_write_that_is_forgotten() {
    let scenario = Scenario::of_threads([&[Sync, Async], &[Sync]]);
    assert_found(Flaw::ForgottenWrite, scenario, "is not written yet");
}

#[test]
fn a_write_on_the_way_to_user_mode_that_is_forgotten() {
    let scenario = Scenario::of_threads([&[Sync, Async], &[Sync]]).with_policy(Policy::Return);
    assert_found(Flaw::ForgottenWrite, scenario, "is not written yet");
}

#[test]
fn a_batch_that_is_forgotten() {
    let scenario =
        Scenario::of_threads([&[Sync, Async]]).and_process(0, [&[Sync]]).with_policy(Policy::Batch);
    assert_found(Flaw::ForgottenWrite, scenario, "is not written yet");
}

#[test]
fn counters_that_lose_updates() {
    let scenario = Scenario::of_threads([&[Sync, Sync]]).and_process(0, [&[Sync, Sync]]);
    assert_found(Flaw::LostUpdates, scenario, "left: ");
}

#[test]
fn an_exit_that_does_not_look_at_its_queue() {
    // With a late exit, the process does not return to user mode before it exits.
    let scenario = Scenario::of_threads([&[Async]]).with_policy(Policy::Batch).with_left(1).with_late_exit();
    assert_found(Flaw::NoFlushAtExit, scenario, "records pending at process tear-down");
}

#[test]
fn an_exit_that_does_not_look_at_its_stream() {
    let scenario = Scenario::of_threads([&[Async]]).with_policy(Policy::Batch);
    assert_found(Flaw::NoFlushAtExit, scenario, "records pending in a file that is closed");
}

#[test]
fn a_file_that_is_left_and_not_flushed() {
    let scenario = Scenario::of_threads([&[Async]]).with_policy(Policy::Batch).and_other(&[Clear(0)]);
    assert_found(Flaw::NoFlushAtSet, scenario, "records pending in a file that is closed");
}

#[test]
fn a_process_that_goes_on_with_a_file_that_failed() {
    let scenario = Scenario::of_threads([&[Sync, Return, Sync]])
        .with_faults(Faults { capacity: Some(0), ..Faults::NONE })
        .and_other(&[Look(0)]);
    assert_found(Flaw::NotAbandoned, scenario, "is still traced to a file that failed");
}

#[test]
fn a_file_that_is_closed_under_a_mutex() {
    // Each record is written by a thread that holds the file, so none is pending when the file is
    // closed.
    let scenario = Scenario::of_threads([&[Sync]]).and_other(&[Clear(0)]);
    assert_found(Flaw::ClosedUnderMutex, scenario, "under a mutex");
}

#[test]
fn a_mutex_that_is_taken_twice() {
    let scenario = Scenario::of_threads([&[Async]]).and_other(&[Look(0)]);
    assert_found(Flaw::MutexTwice, scenario, "was taken under a mutex");
}

#[test]
fn a_limit_that_nobody_set() {
    let scenario =
        Scenario::of_threads([&[Async; 4]]).with_policy(Policy::Batch).with_left(1).and_other(&[Help(0)]);
    assert_found(Flaw::HigherLimit, scenario, "assertion failed: stats.queued_max()");
}

#[test]
fn locks_taken_in_two_orders() {
    let found = ktrace_model::failure_of(|| {
        let locks = std::sync::Arc::new([CommitLock::new(0), CommitLock::new(0)]);
        let others = std::sync::Arc::clone(&locks);
        let other = shuttle::thread::spawn(move || {
            others[1].with(MaySleep::new(), |_| others[0].with(MaySleep::new(), |_| ()));
        });
        locks[0].with(MaySleep::new(), |_| locks[1].with(MaySleep::new(), |_| ()));
        other.join().expect("the thread ends");
    });
    assert!(found.contains("deadlock"), "{found:?}");
}

#[test]
fn memory_under_a_mutex() {
    let found = ktrace_model::failure_of(|| {
        let mutex = <ktrace_model::ModelMutex<u32> as ktrace_engine::Mutex<u32>>::new(c"ktrace_rs queue", 0);
        ktrace_engine::Mutex::with(&mutex, |_| drop(std::hint::black_box(vec![1_u8; 100])));
    });
    assert!(found.contains("allocated or freed"), "{found:?}");
}
