//! Files that cannot be written.

use std::cell::Cell;
use std::sync::Arc;

use ktrace_engine::{Counter as _, Errno};
use ktrace_format::{FaultEnd, Kind, Payload};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::{Disk, EFBIG, EIO, ENOSPC, Engine, Faults};

use crate::trace_file::{assert_settled, count, decode, dropped};
use crate::traced::{Traced, engine_of_queues, engine_of_records, open, settle};

/// The length of a `KTR_FAULT` record.
const FAULT_LEN: usize = 80;

fn full(capacity: usize) -> Faults {
    Faults { capacity: Some(capacity), ..Faults::default() }
}

fn broken_from(attempt: u64) -> Faults {
    Faults { broken: attempt..u64::MAX, ..Faults::default() }
}

/// Makes `faults` records and drains them. Returns the result of the drain.
fn drain_faults(traced: &Traced, faults: u64) -> Result<(), Errno> {
    for number in 0..faults {
        assert!(traced.fault(number));
    }
    traced.drain()
}

/// Checks that a file that fails with `errno` after three and a half records holds three of ten.
fn assert_whole_records(engine: &Arc<Engine>, disk: &Disk, traced: Traced, errno: Errno) {
    assert_eq!(drain_faults(&traced, 10), Err(errno));
    assert!(!traced.trace().is_traced());
    assert_eq!(disk.size(), 3 * FAULT_LEN);
    assert_eq!(dropped(engine, Kind::Fault), 7);
    drop(traced);
    assert_settled(engine, &count(&decode(&disk.content())));
}

#[test]
fn a_full_file_holds_all_whole_records_that_fit() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(full(3 * FAULT_LEN + FAULT_LEN / 2));
    let traced = Traced::to(&engine, 1, disk.open());
    assert_whole_records(&engine, &disk, traced, ENOSPC);
}

#[test]
fn a_limited_file_holds_all_whole_records_that_fit() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open_limited(Some(3 * FAULT_LEN + FAULT_LEN / 2)));
    assert_whole_records(&engine, &disk, traced, EFBIG);
}

#[test]
fn a_batch_that_failed_once_is_written_record_by_record() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(Faults { broken: 0..1, ..Faults::default() });
    let traced = Traced::to(&engine, 1, disk.open());
    assert_eq!(drain_faults(&traced, 10), Ok(()));
    assert!(traced.trace().is_traced());
    assert_eq!(disk.appends(), 10);
    assert_eq!(decode(&disk.content()).len(), 10);
    assert_eq!(dropped(&engine, Kind::Fault), 0);
}

#[test]
fn a_broken_file_is_not_tried_for_each_record() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(Faults { dead: true, ..Faults::default() });
    let traced = Traced::to(&engine, 1, disk.open());
    assert_eq!(drain_faults(&traced, 200), Err(EIO));
    assert!(disk.attempts() <= 2, "{} attempts", disk.attempts());
    assert_eq!(dropped(&engine, Kind::Fault), 200);
    assert_eq!(engine.stats.commits.fetch(), 0);
}

#[test]
fn a_synchronous_record_behind_a_failed_drain_is_counted() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(broken_from(0));
    let traced = Traced::to(&engine, 1, disk.open());
    assert!(traced.fault(0));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Err(EIO));
    assert_eq!((dropped(&engine, Kind::Fault), dropped(&engine, Kind::Namei)), (1, 1));
}

#[test]
fn a_failed_write_ends_tracing_of_its_process_only() {
    let engine = engine_of_records();
    let (bad, good) = (Disk::new(), Disk::new());
    bad.set_faults(broken_from(3));
    let (one, other) = (Traced::to(&engine, 1, bad.open()), Traced::to(&engine, 2, good.open()));
    for number in 0..10 {
        one.fault(number);
        other.fault(number);
        let _ = one.commit(&Payload::Namei(b"/one"));
        assert_eq!(other.commit(&Payload::Namei(b"/other")), Ok(()));
    }
    assert!(!one.trace().is_traced());
    assert!(!one.fault(0), "a record was queued for nobody");
    assert_eq!(one.commit(&Payload::Namei(b"/")), Ok(()), "nobody is told a second time");
    assert_eq!(one.trace().queued(), 0);
    assert!(other.trace().is_traced());
    // Each write is a fault and the record that is committed behind it.
    assert_eq!(decode(&bad.content()).len(), 6);
    assert_eq!(decode(&good.content()).len(), 20);
    assert_eq!((bad.open_count(), good.open_count()), (0, 1), "what failed is closed");
}

#[test]
fn processes_of_one_full_file_end_one_by_one() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(full(2 * FAULT_LEN));
    let file = open(&engine, disk.open());
    let processes = [1, 2, 3].map(|pid| Traced::new(&engine, pid));
    for process in &processes {
        process.set(&file);
        process.fault(1);
    }
    drop(file);
    let all = processes.each_ref();
    assert_eq!(settle(&all, processes[0].try_drain()), [(3, ENOSPC)]);
    assert_eq!(all.map(|process| process.trace().is_traced()), [true, true, false]);
    processes[1].fault(2);
    assert_eq!(settle(&all, processes[0].try_drain()), [(2, ENOSPC)], "whoever writes");
    processes[0].fault(2);
    assert_eq!(settle(&all, processes[0].try_drain()), [(1, ENOSPC)]);
    assert_eq!((disk.open_count(), dropped(&engine, Kind::Fault)), (0, 3));
}

#[test]
fn a_process_that_fails_twice_before_its_tracing_ends_is_known() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(broken_from(0));
    let file = open(&engine, disk.open());
    let traced = Traced::new(&engine, 1);
    traced.set(&file);
    for again in [false, true] {
        traced.fault(1);
        let failures = traced.try_drain();
        assert_eq!(failures.iter().map(|failed| failed.again).collect::<Vec<_>>(), [again]);
        if again {
            assert_eq!(settle(&[&traced], failures), [(1, EIO)]);
        }
    }
    assert_eq!(dropped(&engine, Kind::Fault), 2);
}

#[test]
fn a_process_with_the_number_of_one_that_failed_is_traced_on() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(Faults { broken: 0..1, ..Faults::default() });
    let file = open(&engine, disk.open());
    let first = Traced::new(&engine, 1);
    first.set(&file);
    first.fault(1);
    let failures = first.try_drain();
    drop(first);
    let second = Traced::new(&engine, 1);
    second.set(&file);
    drop(file);
    second.fault(2);
    assert_eq!(settle(&[&second], failures), [(1, EIO)]);
    assert!(second.trace().is_traced());
    assert_eq!(second.drain(), Ok(()));
    assert_eq!(count(&decode(&disk.content())).get(Kind::Fault), &1);
}

#[test]
fn the_old_file_that_fails_does_not_end_tracing_to_the_new_one() {
    let engine = engine_of_records();
    let (old, new) = (Disk::new(), Disk::new());
    let traced = Traced::to(&engine, 1, old.open());
    traced.fault(1);
    old.set_faults(broken_from(0));
    traced.set(&open(&engine, new.open()));
    traced.fault(2);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(traced.finish(), Err(EIO));
    assert!(traced.trace().is_traced());
    assert_eq!(decode(&new.content()).len(), 2);
    assert_eq!(engine.stats.procs.fetch(), 1);
}

#[test]
fn what_is_queued_for_the_old_file_that_fails_is_dropped_and_nothing_else() {
    let engine = engine_of_queues();
    let (old, new) = (Disk::new(), Disk::new());
    let traced = Traced::to(&engine, 1, old.open());
    let faults = traced.fill_stream();
    old.set_faults(broken_from(0));
    traced.set(&open(&engine, new.open()));
    traced.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 }));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(traced.finish(), Err(EIO));
    assert!(traced.trace().is_traced());
    traced.clear();
    assert_eq!(traced.finish(), Ok(()), "nobody is told a second time");
    let found =
        [Kind::Fault, Kind::FaultEnd, Kind::Namei].map(|kind| *count(&decode(&new.content())).get(kind));
    assert_eq!(found, [0, 1, 1]);
    assert_eq!((old.size(), dropped(&engine, Kind::Fault)), (0, faults));
}

#[test]
fn a_file_that_is_set_while_the_old_one_fails_stays() {
    let engine = engine_of_records();
    let (old, new) = (Disk::new(), Disk::new());
    old.set_faults(broken_from(0));
    let traced = std::rc::Rc::new(Traced::to(&engine, 1, old.open()));
    traced.fault(1);
    let new_file = open(&engine, new.open());
    let (hooked, once) = (std::rc::Rc::clone(&traced), Cell::new(false));
    let hook = move |point| {
        if point == Point::Append && !once.replace(true) {
            hooked.set(&new_file);
            hooked.fault(2);
        }
    };
    assert_eq!(interleave::with(hook, || traced.commit(&Payload::Namei(b"/old"))), Err(EIO));
    assert!(traced.trace().is_traced());
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(count(&decode(&new.content())).get(Kind::Fault), &1);
    assert_eq!(old.size(), 0);
    assert_eq!((dropped(&engine, Kind::Fault), dropped(&engine, Kind::Namei)), (1, 1));
}

#[test]
fn what_is_queued_while_a_write_fails_is_dropped_with_it() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    // Room for a smaller record, but not for a fault.
    disk.set_faults(full(FAULT_LEN - 1));
    let traced = std::rc::Rc::new(Traced::to(&engine, 1, disk.open()));
    traced.fault(1);
    let hooked = std::rc::Rc::clone(&traced);
    let hook = move |point| {
        if point == Point::Append {
            hooked.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 }));
        }
    };
    assert_eq!(interleave::with(hook, || traced.drain()), Err(ENOSPC));
    assert_eq!((traced.trace().queued(), engine.stats.queued.fetch()), (0, 0));
    assert_eq!(traced.drain(), Ok(()), "nobody is told a second time");
    assert_eq!((dropped(&engine, Kind::Fault), dropped(&engine, Kind::FaultEnd)), (1, 1));
    assert_eq!((disk.size(), disk.open_count()), (0, 0));
}

#[test]
fn a_slow_file_loses_nothing() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(Faults { delay: std::time::Duration::from_millis(2), ..Faults::default() });
    let traced = Traced::to(&engine, 1, disk.open());
    for _ in 0..10 {
        assert_eq!(drain_faults(&traced, 5), Ok(()));
    }
    assert_eq!(decode(&disk.content()).len(), 50);
}
