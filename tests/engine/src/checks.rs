//! The doubles find the faults that a debug kernel finds.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ktrace_doubles::thread::sleepless;
use ktrace_doubles::{CommitLock, DoubleCounter, DoubleMutex, MaySleep};
use ktrace_engine::{Counter as _, Mutex as _, SleepLock as _, Storage as _};

use crate::host::{Disk, Host};

/// Checks that `work` panics, and that the message contains `expected`.
fn assert_found(expected: &str, work: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("nothing was found");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let found = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(found.contains(expected), "{found:?} was found, and not {expected:?}");
}

fn mutex() -> DoubleMutex<u32, Host> {
    DoubleMutex::new(c"ktrace_rs queue", 0)
}

fn stream_mutex() -> DoubleMutex<u32, Host> {
    DoubleMutex::new(c"ktrace_rs stream", 1)
}

fn commit_lock() -> CommitLock<u32, Host> {
    CommitLock::new(0)
}

#[test]
fn the_right_order_is_fine() {
    let (commit, queue, stream) = (commit_lock(), mutex(), stream_mutex());
    let both = || queue.with(|value| *value + stream.with(|other| *other));
    assert_eq!(commit.with(MaySleep::new(), |_| both()), 1);
    assert_eq!(sleepless(both), 1);
}

#[test]
fn a_mutex_under_a_mutex() {
    let (queue, other_queue) = (mutex(), mutex());
    let (stream, other) = (stream_mutex(), stream_mutex());
    let found = "was taken under a mutex";
    assert_found(found, || queue.with(|_| queue.with(|_| ())));
    assert_found(found, || queue.with(|_| other_queue.with(|_| ())));
    assert_found(found, || stream.with(|_| other.with(|_| ())));
    assert_found(found, || stream.with(|_| queue.with(|_| ())));
    assert_found(found, || queue.with(|_| stream.with(|_| other.with(|_| ()))));
    assert_eq!(queue.with(|value| *value), 0, "it can be taken after that");
}

#[test]
fn a_commit_lock_under_a_commit_lock() {
    let (one, other) = (commit_lock(), commit_lock());
    for inner in [&one, &other] {
        assert_found("under another", || {
            one.with(MaySleep::new(), |_| inner.with(MaySleep::new(), |_| ()));
        });
    }
}

#[test]
fn leave_to_write_under_a_commit_lock() {
    let (commit, file) = (commit_lock(), Disk::new().open());
    assert_found("under a commit lock", || {
        commit.with(MaySleep::new(), |_| drop(file.start_write(MaySleep::new())));
    });
}

#[test]
fn what_may_sleep_under_a_mutex() {
    let (commit, queue, file) = (commit_lock(), mutex(), Disk::new().open());
    let (may_sleep, leave) = (MaySleep::new(), file.start_write(MaySleep::new()));
    assert_found("under a mutex", || queue.with(|_| commit.with(may_sleep, |_| ())));
    assert_found("may not sleep", || {
        queue.with(|_| {
            let _ = MaySleep::new();
        });
    });
    assert_found("a file was written", || {
        let _ = queue.with(|_| file.append(&leave, b"x"));
    });
}

#[test]
fn a_close_where_sleeping_is_not_allowed() {
    let file = Disk::new().open();
    assert_found("a file was closed", || sleepless(|| drop(file)));
}

#[test]
fn memory_under_a_mutex() {
    let (queue, block) = (mutex(), vec![1_u8; 100]);
    assert_found("allocated", || queue.with(|_| drop(black_box(vec![1_u8; 100]))));
    assert_found("freed", || queue.with(|_| drop(block)));
}

#[test]
fn a_counter_below_zero() {
    let counter = DoubleCounter::<Host>::new();
    counter.add(1);
    assert_found("below zero", || counter.add(-2));
}
