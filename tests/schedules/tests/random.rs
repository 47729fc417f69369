//! Scenarios with more schedules than can be tried.

use ktrace_doubles::Faults;
use ktrace_engine::Policy;
use ktrace_schedules::Action::{AtOnce, Clear, Exec, Help, Limit, Look, Records, Set, Suspend};
use ktrace_schedules::Step::{self, Async, Long, Quarter, Return, Sync};
use ktrace_schedules::{Action, Scenario, explore};

/// A thread whose records fill the smallest queue.
const BURST: &[Step] = &[Async, Async, Async, Async, Return, Async];

/// A thread that makes records of both kinds.
const MIXED: &[Step] = &[Sync, Async, Async, Sync, Async, Return, Async];

/// A thread that fills a stream more than once.
const LARGE: &[Step] = &[Quarter, Quarter, Async, Quarter, Quarter, Async, Async, Sync, Return];

/// A thread with records that are written on their own.
const LONGER: &[Step] = &[Sync, Long, Async, Long, Return];

/// Returns the faults of a file of which only this write fails.
fn broken(write: u64) -> Faults {
    Faults { broken: write..write + 1, ..Faults::NONE }
}

/// Returns the faults of a file of which this write and all later ones fail.
fn broken_from(write: u64) -> Faults {
    Faults { broken: write..u64::MAX, ..Faults::NONE }
}

fn full(capacity: usize) -> Faults {
    Faults { capacity: Some(capacity), ..Faults::NONE }
}

/// Tries a scenario under three policies: each record written, with an empty stream; the records of
/// a system call written together, with little room in the stream; and batches, with no room in the
/// stream.
fn explore_all(scenario: Scenario) {
    explore(scenario.clone().with_policy(Policy::Record));
    explore(scenario.clone().with_policy(Policy::Return).with_left(200));
    explore(scenario.with_policy(Policy::Batch).with_left(1));
}

#[test]
fn threads_of_one_process() {
    explore_all(Scenario::of_threads([MIXED, MIXED, BURST]));
}

#[test]
fn threads_with_room_for_all_they_make() {
    explore_all(Scenario::of_threads([MIXED, BURST, &[Sync, Sync]]).with_limit(8));
}

#[test]
fn threads_that_fill_the_stream() {
    explore_all(Scenario::of_threads([LARGE, BURST]).and_other(&[Help(0), Help(0)]));
}

#[test]
fn processes_that_fill_the_stream_they_share() {
    explore_all(Scenario::of_threads([LARGE]).and_process(0, [LARGE]).and_other(&[
        Help(0),
        Help(1),
        Help(0),
    ]));
}

#[test]
fn long_records_between_short_ones() {
    explore_all(Scenario::of_threads([LONGER, MIXED]).and_process(0, [LONGER]).and_other(&[Help(0)]));
}

#[test]
fn a_thread_that_is_not_the_owner_drains() {
    explore_all(
        Scenario::of_threads([BURST, MIXED])
            .and_other(&[Look(0), Help(0), Help(0), Look(0), Help(0)])
            .and_other(&[Help(0), Look(0)]),
    );
}

#[test]
fn tracing_is_ended_by_another_process() {
    explore_all(Scenario::of_threads([MIXED, BURST]).and_other(&[Clear(0)]).and_other(&[Help(0)]));
}

#[test]
fn the_file_changes() {
    explore_all(
        Scenario::of_threads([MIXED, BURST])
            .and_file(Faults::NONE)
            .and_other(&[Set(0, 1), Set(0, 0)])
            .and_other(&[Help(0), Set(0, 1), Clear(0)]),
    );
}

#[test]
fn the_file_changes_while_long_records_are_made() {
    explore_all(
        Scenario::of_threads([LONGER, LARGE])
            .and_file(Faults::NONE)
            .and_other(&[Set(0, 1), Set(0, 0)])
            .and_other(&[Help(0)]),
    );
}

#[test]
fn the_limit_changes() {
    explore_all(
        Scenario::of_threads([MIXED, BURST]).and_other(&[Limit(3), Limit(1), Limit(2)]).and_other(&[
            Help(0),
            Look(0),
            Help(0),
        ]),
    );
}

#[test]
fn the_policy_changes() {
    explore_all(
        Scenario::of_threads([MIXED, LARGE])
            .and_process(0, [BURST])
            .and_other(&[
                Action::Policy(Policy::Batch),
                Action::Policy(Policy::Return),
                Action::Policy(Policy::Record),
            ])
            .and_other(&[Records(2), AtOnce, Help(0)]),
    );
}

#[test]
fn a_process_has_all_written_while_others_write() {
    explore_all(
        Scenario::of_threads([BURST])
            .and_process(0, [MIXED])
            .and_other(&[Exec(0), Exec(1)])
            .and_other(&[Help(1)]),
    );
}

#[test]
fn the_file_system_is_suspended() {
    explore_all(
        Scenario::of_threads([MIXED, LARGE])
            .and_process(0, [LONGER])
            .and_other(&[Suspend(0), Suspend(0)])
            .and_other(&[Help(0), Help(1), Clear(1)]),
    );
}

#[test]
fn a_traced_thread_suspends_the_file_system() {
    explore_all(
        Scenario::of_threads([&[Sync, Step::Suspend, Async, Return, Sync], MIXED])
            .and_process(0, [LARGE])
            .and_other(&[Help(0), Help(1)]),
    );
}

#[test]
fn processes_share_a_file() {
    explore_all(
        Scenario::of_threads([MIXED, BURST])
            .and_process(0, [MIXED, &[Sync, Async]])
            .and_other(&[Help(0), Help(1)]),
    );
}

#[test]
fn one_of_the_processes_that_share_a_file_is_cleared() {
    explore_all(
        Scenario::of_threads([MIXED])
            .and_process(0, [BURST])
            .and_other(&[Clear(0), Set(0, 0)])
            .and_other(&[Help(1), Clear(1)]),
    );
}

#[test]
fn the_process_exits_while_others_look_at_it() {
    explore_all(
        Scenario::of_threads([&[Async]])
            .and_file(Faults::NONE)
            .and_other(&[Help(0), Look(0)])
            .and_other(&[Set(0, 1)])
            .and_other(&[Clear(0)]),
    );
}

#[test]
fn one_write_fails() {
    // The failing write is a batch, one of its records, or a record of its own.
    for write in 0..5 {
        explore_all(Scenario::of_threads([MIXED, BURST]).with_faults(broken(write)).and_other(&[Help(0)]));
    }
}

#[test]
fn the_file_is_broken_from_a_write_on() {
    for write in 0..4 {
        explore_all(
            Scenario::of_threads([MIXED, BURST])
                .with_faults(broken_from(write))
                .and_file(Faults::NONE)
                .and_process(1, [&[Sync, Async]])
                .and_other(&[Help(0), Set(0, 1), Help(0)]),
        );
    }
}

#[test]
fn the_file_that_is_changed_to_is_broken() {
    explore_all(
        Scenario::of_threads([&[Async, Async], &[Sync]])
            .and_file(broken_from(0))
            .and_other(&[Clear(0), Set(0, 1)])
            .and_other(&[Help(0), Help(0)]),
    );
}

#[test]
fn the_file_is_full_inside_a_batch() {
    for records in 0..4 {
        explore_all(
            Scenario::of_threads([BURST, MIXED])
                .with_faults(full(records * 1104 + 500))
                .and_other(&[Help(0), Look(0)]),
        );
    }
}

#[test]
fn a_write_fails_for_all_who_share_the_file() {
    for write in 0..4 {
        explore_all(
            Scenario::of_threads([MIXED])
                .and_process(0, [BURST])
                .and_process(0, [LONGER])
                .with_faults(broken_from(write))
                .and_other(&[Help(0), Help(1)]),
        );
    }
}

#[test]
fn a_full_file_is_shared() {
    for records in [1, 3] {
        explore_all(
            Scenario::of_threads([BURST])
                .and_process(0, [MIXED])
                .with_faults(full(records * 1104 + 500))
                .and_file(Faults::NONE)
                .and_other(&[Help(0), Set(1, 1), Help(1)])
                .and_other(&[Clear(0)]),
        );
    }
}

#[test]
fn everything_at_once() {
    explore_all(
        Scenario::of_threads([MIXED, BURST])
            .and_process(1, [MIXED])
            .with_faults(broken_from(6))
            .and_file(full(4 * 1104))
            .and_file(Faults::NONE)
            .and_other(&[Set(0, 2), Limit(2), Set(1, 0), Clear(0)])
            .and_other(&[Help(0), Help(1), Set(0, 1), Look(1)]),
    );
}
