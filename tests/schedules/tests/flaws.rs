//! Deliberate flaws are found. Tests that find nothing prove nothing.

use ktrace_doubles::{Faults, Lie};
use ktrace_engine::Policy;
use ktrace_schedules::Action::{Clear, Help};
use ktrace_schedules::Step::{Async, Return, Sync};
use ktrace_schedules::{Disk, Flaw, Scenario, failure, failure_of};

fn assert_found(flaw: Flaw, scenario: Scenario, expected: &str) {
    let found = failure(flaw, scenario);
    assert!(found.contains(expected), "{flaw:?}: {found:?} was found, and not {expected:?}");
}

/// Checks that a scenario fails in which the first file lies.
fn assert_lie_found(lie: Lie, scenario: Scenario, capacity: Option<usize>, expected: &str) {
    let faults = Faults { capacity, lie: Some(lie), ..Faults::NONE };
    assert_found(Flaw::None, scenario.with_faults(faults), expected);
}

#[test]
fn a_write_that_fails_half_done() {
    let scenario = Scenario::of_threads([&[Async, Async, Async]]).with_policy(Policy::Return);
    assert_lie_found(Lie::Half, scenario, Some(1500), "the file holds only whole records");
}

#[test]
fn writes_that_overtake_others() {
    let scenario = Scenario::of_threads([&[Sync, Sync], &[Async]]).with_policy(Policy::Return);
    assert_lie_found(Lie::Overtaken, scenario, None, "goes back in time");
}

#[test]
fn a_write_that_is_forgotten() {
    let scenario = Scenario::of_threads([&[Sync, Async], &[Sync]]);
    assert_lie_found(Lie::Forgotten, scenario, None, "is not written yet");
}

#[test]
fn a_write_on_the_way_to_user_mode_that_is_forgotten() {
    let scenario = Scenario::of_threads([&[Sync, Async], &[Sync]]).with_policy(Policy::Return);
    assert_lie_found(Lie::Forgotten, scenario, None, "is not written yet");
}

#[test]
fn a_batch_that_is_forgotten() {
    let scenario =
        Scenario::of_threads([&[Sync, Async]]).and_process(0, [&[Sync]]).with_policy(Policy::Batch);
    assert_lie_found(Lie::Forgotten, scenario, None, "is not written yet");
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
        .with_faults(Faults { capacity: Some(0), ..Faults::NONE });
    assert_found(Flaw::NotAbandoned, scenario, "is still traced to a file that failed");
}

#[test]
fn a_limit_that_nobody_set() {
    let scenario =
        Scenario::of_threads([&[Async; 4]]).with_policy(Policy::Batch).with_left(1).and_other(&[Help(0)]);
    assert_found(Flaw::HigherLimit, scenario, "assertion failed: stats.queued_max()");
}

#[test]
fn tasks_that_wait_for_each_other() {
    let found = failure_of(|| {
        let disks = [Disk::new(), Disk::new()];
        let [one, other] = disks.clone();
        let reversed = shuttle::thread::spawn(move || other.suspend(|| one.suspend(|| ())));
        disks[0].suspend(|| disks[1].suspend(|| ()));
        reversed.join().expect("the thread ends");
    });
    assert!(found.contains("deadlock"), "{found:?}");
}
