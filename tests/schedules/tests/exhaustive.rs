//! Scenarios so small that every schedule is tried.

use ktrace_doubles::Faults;
use ktrace_engine::Policy;
use ktrace_schedules::Action::{Clear, Exec, Help, Limit, Records, Set};
use ktrace_schedules::Step::{Async, Quarter, Return, Sync};
use ktrace_schedules::{Scenario, exhaustive};

/// Checks a scenario in every schedule, and that there are more than a few.
fn check(scenario: Scenario) {
    let schedules = exhaustive(scenario);
    println!("{schedules} schedules");
    assert!(schedules > 100, "only {schedules} schedules were tried");
}

/// Changes a scenario so that records wait for a batch.
fn waiting(scenario: Scenario) -> Scenario {
    scenario.with_policy(Policy::Batch)
}

/// Changes a scenario so that the stream has no room.
fn full(scenario: Scenario) -> Scenario {
    waiting(scenario).with_left(1)
}

#[test]
fn a_record_against_a_flush() {
    check(waiting(Scenario::of_threads([&[Async, Return, Async]]).and_other(&[Help(0)])));
}

#[test]
fn a_queued_record_against_a_flush() {
    check(full(Scenario::of_threads([&[Async, Async]]).and_other(&[Help(0)])));
}

#[test]
fn a_record_against_a_clear() {
    check(waiting(Scenario::of_threads([&[Async, Async]]).and_other(&[Clear(0)])));
}

#[test]
fn a_queued_record_against_a_clear() {
    check(full(Scenario::of_threads([&[Async, Async]]).and_other(&[Clear(0)])));
}

#[test]
fn a_record_against_a_change_of_file() {
    check(waiting(Scenario::of_threads([&[Async, Async]]).and_file(Faults::NONE).and_other(&[Set(0, 1)])));
}

#[test]
fn a_written_record_against_a_clear() {
    check(Scenario::of_threads([&[Async, Sync]]).and_other(&[Clear(0)]));
}

#[test]
fn a_written_record_against_a_change_of_file() {
    check(Scenario::of_threads([&[Sync]]).and_file(Faults::NONE).and_other(&[Set(0, 1)]));
}

#[test]
fn a_full_queue_against_a_flush() {
    check(full(Scenario::of_threads([&[Async; 5]]).and_other(&[Help(0)])));
}

#[test]
fn a_queue_against_a_limit() {
    check(full(Scenario::of_threads([&[Async; 4]]).and_other(&[Limit(2), Help(0)])));
}

#[test]
fn records_of_two_threads() {
    check(Scenario::of_threads([&[Async, Sync], &[Sync, Async]]));
}

#[test]
fn batches_of_two_threads() {
    check(waiting(Scenario::of_threads([&[Sync, Sync], &[Sync]]).and_other(&[Records(2)])));
}

#[test]
fn records_of_two_threads_against_a_flush() {
    check(waiting(Scenario::of_threads([&[Async], &[Sync]]).and_other(&[Help(0)])));
}

#[test]
fn records_of_two_processes_in_one_file() {
    check(Scenario::of_threads([&[Async, Sync]]).and_process(0, [&[Sync, Async]]));
}

#[test]
fn a_stream_that_two_processes_have_filled() {
    check(full(Scenario::of_threads([&[Async, Sync, Async]]).and_process(0, [&[Sync, Async]])));
}

#[test]
fn a_record_that_overtakes_those_in_a_stream_that_is_written() {
    check(waiting(Scenario::of_threads([&[Quarter, Async, Async]])).with_left(100).and_other(&[Help(0)]));
}

#[test]
fn an_exec_against_a_flush() {
    check(waiting(Scenario::of_threads([&[Async, Return, Async]]).and_other(&[Exec(0), Help(0)])));
}

#[test]
fn a_broken_file_against_a_change_of_file() {
    let broken = Faults { broken: 0..u64::MAX, ..Faults::NONE };
    check(Scenario::of_threads([&[Sync]]).with_faults(broken).and_file(Faults::NONE).and_other(&[Set(0, 1)]));
}

#[test]
fn a_full_file_against_a_flush() {
    let full = Faults { capacity: Some(1500), ..Faults::NONE };
    check(waiting(Scenario::of_threads([&[Async, Async]]).with_faults(full).and_other(&[Help(0)])));
}

#[test]
fn a_full_file_of_two_processes() {
    let full = Faults { capacity: Some(100), ..Faults::NONE };
    check(Scenario::of_threads([&[Sync]]).and_process(0, [&[Sync]]).with_faults(full));
}
