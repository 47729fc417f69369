//! The simulation finds the faults that a debug kernel finds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ktrace_engine::{Mutex as _, SleepLock as _, Storage as _};
use ktrace_sim::{CommitLock, Disk, HostMutex, MaySleep, context};

/// Returns the panic message of `work`, which must panic.
fn complaint(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("nothing was found");
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

fn mutex() -> HostMutex<u32> {
    HostMutex::new(c"ktrace_rs queue", 0)
}

fn stream_mutex() -> HostMutex<u32> {
    HostMutex::new(c"ktrace_rs stream", 1)
}

fn commit_lock() -> CommitLock<u32> {
    CommitLock::new(0)
}

#[test]
fn the_right_order_is_fine() {
    let (commit, queue, stream) = (commit_lock(), mutex(), stream_mutex());
    let both = || queue.with(|value| *value + stream.with(|other| *other));
    assert_eq!(commit.with(MaySleep::new(), |_| both()), 1);
    assert_eq!(context::sleepless(both), 1);
}

#[test]
fn a_mutex_taken_twice() {
    let queue = mutex();
    assert!(complaint(|| queue.with(|_| queue.with(|_| ()))).contains("has already"));
}

#[test]
fn a_commit_lock_taken_twice() {
    let commit = commit_lock();
    let twice = || commit.with(MaySleep::new(), |_| commit.with(MaySleep::new(), |_| ()));
    assert!(complaint(twice).contains("has already"));
}

#[test]
fn a_mutex_under_a_mutex() {
    let under = |one: HostMutex<u32>, other: HostMutex<u32>| complaint(|| one.with(|_| other.with(|_| ())));
    for found in
        [under(mutex(), mutex()), under(stream_mutex(), stream_mutex()), under(stream_mutex(), mutex())]
    {
        assert!(found.contains("was taken under a mutex"), "{found}");
    }
}

#[test]
fn a_mutex_under_two() {
    let (queue, stream, other) = (mutex(), stream_mutex(), stream_mutex());
    let found = complaint(|| queue.with(|_| stream.with(|_| other.with(|_| ()))));
    assert!(found.contains("was taken under a mutex"), "{found}");
}

#[test]
fn leave_to_write_under_a_commit_lock() {
    let (commit, file) = (commit_lock(), Disk::new().open());
    let found = complaint(|| {
        commit.with(MaySleep::new(), |_| file.start_write(MaySleep::new()));
    });
    assert!(found.contains("under a commit lock"), "{found}");
}

#[test]
fn a_commit_lock_under_a_mutex() {
    let (commit, queue) = (commit_lock(), mutex());
    let may_sleep = MaySleep::new();
    let found = complaint(|| queue.with(|_| commit.with(may_sleep, |_| ())));
    assert!(found.contains("under a mutex"));
}

#[test]
fn a_commit_lock_under_another() {
    let (one, other) = (commit_lock(), commit_lock());
    let both = || one.with(MaySleep::new(), |_| other.with(MaySleep::new(), |_| ()));
    assert!(complaint(both).contains("under another"));
}

#[test]
fn leave_to_sleep_under_a_mutex() {
    let queue = mutex();
    assert!(
        complaint(|| queue.with(|_| {
            let _ = MaySleep::new();
        }))
        .contains("may not sleep")
    );
}

#[test]
fn a_write_under_a_mutex() {
    let (queue, file, may_sleep) = (mutex(), Disk::new().open(), MaySleep::new());
    let found = complaint(|| {
        let _ = queue.with(|_| file.append(&may_sleep, b"x"));
    });
    assert!(found.contains("a file was written"));
}

#[test]
fn a_close_where_sleeping_is_not_allowed() {
    let file = Disk::new().open();
    assert!(complaint(|| context::sleepless(|| drop(file))).contains("a file was closed"));
}

#[test]
fn memory_under_a_mutex() {
    let queue = mutex();
    let block = vec![1_u8; 100];
    assert!(complaint(|| queue.with(|_| drop(std::hint::black_box(vec![1_u8; 100])))).contains("allocated"));
    assert!(complaint(|| queue.with(|_| drop(block))).contains("freed"));
}

#[test]
fn the_locks_work_after_a_complaint() {
    let queue = mutex();
    complaint(|| {
        queue.with(|_| {
            let _ = MaySleep::new();
        })
    });
    assert_eq!(queue.with(|value| *value), 0);
}
