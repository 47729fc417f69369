//! Scenarios so small that every schedule is tried.

use ktrace_model::Action::{Clear, Help, Limit, Set};
use ktrace_model::Step::{Async, Return, Sync};
use ktrace_model::{Faults, Scenario, exhaustive};

/// Every schedule of the scenario is fine, and there are not just a few.
fn check(scenario: Scenario) {
    let schedules = exhaustive(scenario);
    println!("{schedules} schedules");
    assert!(schedules > 100, "only {schedules} schedules were tried");
}

#[test]
fn a_record_against_a_flush() {
    check(Scenario::of_threads([&[Async, Return, Async]]).and_other(&[Help(0)]));
}

#[test]
fn a_record_against_a_clear() {
    check(Scenario::of_threads([&[Async, Async]]).and_other(&[Clear(0)]));
}

#[test]
fn a_record_against_a_change_of_file() {
    check(Scenario::of_threads([&[Async, Async]]).and_file(Faults::NONE).and_other(&[Set(0, 1)]));
}

#[test]
fn a_written_record_against_a_clear() {
    check(Scenario::of_threads([&[Async, Sync]]).and_other(&[Clear(0)]));
}

#[test]
fn a_written_record_against_a_change_of_file() {
    check(Scenario::of_threads([&[Sync, Sync]]).and_file(Faults::NONE).and_other(&[Set(0, 1)]));
}

#[test]
fn a_full_queue_against_a_flush() {
    check(Scenario::of_threads([&[Async; 5]]).and_other(&[Help(0)]));
}

#[test]
fn a_full_queue_against_a_limit() {
    check(
        Scenario::of_threads([&[Async, Async, Async, Async, Return, Async]]).and_other(&[Limit(2), Help(0)]),
    );
}

#[test]
fn records_of_two_threads() {
    check(Scenario::of_threads([&[Async, Sync], &[Sync, Async]]));
}

#[test]
fn records_of_two_threads_against_a_flush() {
    check(Scenario::of_threads([&[Async], &[Sync]]).and_other(&[Help(0)]));
}

#[test]
fn records_of_two_processes_in_one_file() {
    check(Scenario::of_threads([&[Async]]).and_process(0, [&[Async]]));
}

#[test]
fn a_broken_file_against_a_change_of_file() {
    let broken = Faults { broken: 0..u64::MAX, ..Faults::NONE };
    check(
        Scenario::of_threads([&[Async]]).with_faults(broken).and_file(Faults::NONE).and_other(&[Set(0, 1)]),
    );
}

#[test]
fn a_full_file_against_a_flush() {
    let full = Faults { capacity: Some(1500), ..Faults::NONE };
    check(Scenario::of_threads([&[Async, Async]]).with_faults(full).and_other(&[Help(0)]));
}
