//! Threads whose writes a signal interrupts.

use std::sync::Arc;

use ktrace_doubles::{EINTR, Faults, MaySleep, decode, with_signal};
use ktrace_engine::{BATCH_BYTES_MAX, BATCH_BYTES_MIN, Counter as _, Errno, Policy};
use ktrace_format::{Kind, Payload};

use crate::host::{Disk, Engine};
use crate::trace_file::{assert_settled, count, dropped};
use crate::traced::{Traced, engine_of_queues, engine_of_records, in_another_thread, open, settle};

/// `ERESTART`: the system call is restarted after the signal.
const ERESTART: Errno = Errno(-1);

fn interruptible() -> Faults {
    Faults { interruptible: true, ..Faults::NONE }
}

/// Writes the files that were left to the helper, as the helper does, for these processes.
fn help_left(engine: &Engine, processes: &[&Traced]) -> Vec<(i32, Errno)> {
    settle(processes, engine.help_left(MaySleep::new(), |_| Some(())))
}

/// Returns two processes that are traced to one file.
fn two_of_one_file(engine: &Arc<Engine>, disk: &Arc<Disk>) -> [Traced; 2] {
    let file = open(engine, disk.open());
    [1, 2].map(|pid| {
        let process = Traced::new(engine, pid);
        process.set(&file);
        process
    })
}

/// Returns a process with one record, whose write was interrupted.
fn interrupted() -> (Arc<Engine>, Arc<Disk>, Traced) {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(interruptible());
    let traced = Traced::to(&engine, 1, disk.open());
    traced.fault(1);
    assert_eq!(with_signal(EINTR, || traced.drain()), Ok(()));
    (engine, disk, traced)
}

#[test]
fn a_signal_ends_no_trace() {
    for errno in [EINTR, ERESTART] {
        let (engine, disk) = (engine_of_records(), Disk::new());
        disk.set_faults(interruptible());
        let [one, other] = two_of_one_file(&engine, &disk);
        other.fault(1);
        one.fault(2);
        assert_eq!(with_signal(errno, || one.drain()), Ok(()));
        assert_eq!(with_signal(errno, || one.commit(&Payload::Namei(b"/one"))), Ok(()));
        assert_eq!(disk.size(), 0);
        assert_ne!(engine.stats.queued.fetch(), 0, "records that are kept wait to be written");
        assert_eq!(help_left(&engine, &[&one, &other]), []);
        assert!(one.trace().is_traced() && other.trace().is_traced());
        assert_eq!(engine.stats.queued.fetch(), 0);
        drop((one, other));
        let content = disk.content();
        let records = decode(&content);
        assert_eq!(records.iter().map(|record| record.header.pid).collect::<Vec<_>>(), [2, 1, 1]);
        assert_settled(&engine, &count(&records));
    }
}

#[test]
fn records_that_are_kept_come_first() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(interruptible());
    let [one, other] = two_of_one_file(&engine, &disk);
    with_signal(EINTR, || one.commit(&Payload::Namei(b"/one"))).expect("the record is kept");
    assert_eq!(other.commit(&Payload::Namei(b"/other")), Ok(()));
    let pids: Vec<_> = decode(&disk.content()).iter().map(|record| record.header.pid).collect();
    assert_eq!(pids, [1, 2], "who has no signal does not wait for the helper");
    assert_eq!(help_left(&engine, &[&one, &other]), []);
}

#[test]
fn records_of_an_earlier_trace_come_first() {
    let (engine, disk, traced) = interrupted();
    traced.clear();
    assert_eq!(with_signal(EINTR, || traced.finish()), Ok(()));
    // Another ktrace(2) opens the file again before the helper has written it.
    traced.set(&open(&engine, disk.open()));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(help_left(&engine, &[&traced]), []);
    drop(traced);
    let content = disk.content();
    let records = decode(&content);
    assert_eq!(
        records.iter().map(|record| record.header.kind).collect::<Vec<_>>(),
        [Kind::Fault, Kind::Namei]
    );
    assert_settled(&engine, &count(&records));
    assert_eq!(disk.open_count(), 0);
}

#[test]
fn a_batch_that_is_interrupted_record_by_record_is_whole() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    // The batch fails, three of its records are written, and then the signal comes.
    disk.set_faults(Faults { broken: 0..1, uninterrupted: 4, ..interruptible() });
    let traced = Traced::to(&engine, 1, disk.open());
    for number in 0..10 {
        traced.fault(number);
    }
    assert_eq!(with_signal(EINTR, || traced.drain()), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 3);
    assert_eq!(help_left(&engine, &[&traced]), []);
    drop(traced);
    let content = disk.content();
    let records = decode(&content);
    assert_eq!(records.len(), 10);
    assert_settled(&engine, &count(&records));
}

#[test]
fn a_killed_process_leaves_its_file_to_the_helper() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(interruptible());
    let traced = Traced::to(&engine, 1, disk.open());
    with_signal(EINTR, || {
        assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
        let file = traced.trace().set_file(None);
        assert!(traced.trace().end(MaySleep::new(), file.as_ref()).is_empty());
        drop((traced, file));
    });
    assert_eq!((disk.size(), disk.open_count()), (0, 1));
    assert_eq!(help_left(&engine, &[]), []);
    assert_eq!((decode(&disk.content()).len(), disk.open_count()), (1, 0));
}

#[test]
fn an_interruption_that_the_helper_meets_is_a_failure() {
    let (engine, disk, traced) = interrupted();
    assert_eq!(with_signal(EINTR, || help_left(&engine, &[&traced])), [(1, EINTR)]);
    assert!(!traced.trace().is_traced());
    assert_eq!((dropped(&engine, Kind::Fault), engine.stats.queued.fetch()), (1, 0));
    assert_eq!(disk.open_count(), 0);
}

#[test]
fn the_helper_waits_for_no_file() {
    let (engine, disk, traced) = interrupted();
    disk.set_faults(Faults::NONE);
    disk.suspend(|| {
        in_another_thread(|| assert!(engine.help_left(MaySleep::new(), |_| Some(())).is_empty()))
    });
    assert_eq!(disk.size(), 0);
    assert_eq!(help_left(&engine, &[&traced]), []);
    assert_eq!(decode(&disk.content()).len(), 1);
}

/// Checks that a file left to the helper is written once. A thread that ends several traces leaves
/// their files to the helper, in case one of them hangs.
#[test]
fn a_file_that_was_left_is_written_once() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    engine.settings.set_policy(Policy::Batch);
    let file = open(&engine, disk.open());
    let traced = Traced::new(&engine, 1);
    traced.set(&file);
    traced.fault(1);
    engine.leave(Arc::clone(&file));
    traced.fault(2);
    assert_eq!(settle(&[&traced], engine.help_left(MaySleep::new(), |_| None::<()>)), []);
    assert_eq!(disk.size(), 0, "another helper is at work on that disk");
    assert_eq!(help_left(&engine, &[&traced]), []);
    assert_eq!(decode(&disk.content()).len(), 2);
    engine.leave(Arc::clone(&file));
    engine.leave(Arc::clone(&file));
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    engine.take_left(&file);
    drop(file);
    assert_eq!((decode(&disk.content()).len(), disk.open_count()), (2, 0));
}

/// Checks the memory of a program that gets signal after signal while its file cannot be written.
/// It takes no more than some batches, and no record of another process is lost.
#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn what_is_kept_is_bounded() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    engine.settings.set_policy(Policy::Return);
    disk.set_faults(interruptible());
    let [one, other] = two_of_one_file(&engine, &disk);
    other.fault(1);
    let path = [b'x'; 1000];
    let made = 2 * BATCH_BYTES_MAX / path.len();
    with_signal(EINTR, || {
        for _ in 0..made {
            one.commit(&Payload::Namei(&path)).expect("a signal ends no trace");
            one.drain().expect("a signal ends no trace");
        }
    });
    let most = BATCH_BYTES_MAX + 4 * BATCH_BYTES_MIN;
    assert!(engine.stats.queued.fetch() <= most as u64, "{} bytes wait", engine.stats.queued.fetch());
    let lost = dropped(&engine, Kind::Namei);
    assert!(lost > 0 && lost < made as u64, "{lost} of {made} records are dropped");
    assert_eq!(help_left(&engine, &[&one, &other]), []);
    assert_eq!(one.commit(&Payload::Namei(b"/")), Ok(()));
    drop((one, other));
    let content = disk.content();
    let records = decode(&content);
    assert!(records.last().is_some_and(|record| record.header.drop), "the drops are marked");
    assert_eq!(*count(&records).get(Kind::Fault), 1);
    assert_eq!(*count(&records).get(Kind::Namei), made as u64 + 1 - lost);
}
