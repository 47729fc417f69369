//! Files that cannot be written.

use std::rc::Rc;

use ktrace_doubles::moment::{Moment, at};
use ktrace_doubles::{EIO, ENOSPC, Faults, decode};
use ktrace_engine::{Counter as _, Errno};
use ktrace_format::{FaultEnd, Kind, Payload};

use crate::host::Disk;
use crate::trace_file::{count, dropped};
use crate::traced::{Traced, engine_of_records, open, settle};

/// The length of a `KTR_FAULT` record.
const FAULT_LEN: usize = 80;

fn full(capacity: usize) -> Faults {
    Faults { capacity: Some(capacity), ..Faults::NONE }
}

/// Makes `faults` records and drains them. Returns the result of the drain.
fn drain_faults(traced: &Traced, faults: u64) -> Result<(), Errno> {
    for number in 0..faults {
        assert!(traced.fault(number));
    }
    traced.drain()
}

#[test]
fn a_batch_that_failed_once_is_written_record_by_record() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    disk.set_faults(Faults { broken: 0..1, ..Faults::NONE });
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
    disk.set_faults(Faults::DEAD);
    let traced = Traced::to(&engine, 1, disk.open());
    assert_eq!(drain_faults(&traced, 200), Err(EIO));
    assert!(disk.attempts() <= 2, "{} attempts", disk.attempts());
    assert_eq!(dropped(&engine, Kind::Fault), 200);
    assert_eq!(engine.stats.commits.fetch(), 0);
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
    disk.set_faults(Faults::DEAD);
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
    disk.set_faults(Faults { broken: 0..1, ..Faults::NONE });
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
fn what_is_queued_while_a_write_fails_is_dropped_with_it() {
    let (engine, disk) = (engine_of_records(), Disk::new());
    // Room for a smaller record, but not for a fault.
    disk.set_faults(full(FAULT_LEN - 1));
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    traced.fault(1);
    let hooked = Rc::clone(&traced);
    let meanwhile = move || {
        hooked.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 }));
    };
    assert_eq!(at(Moment::Write, meanwhile, || traced.drain()), Err(ENOSPC));
    assert_eq!((traced.trace().queued(), engine.stats.queued.fetch()), (0, 0));
    assert_eq!(traced.drain(), Ok(()), "nobody is told a second time");
    assert_eq!((dropped(&engine, Kind::Fault), dropped(&engine, Kind::FaultEnd)), (1, 1));
    assert_eq!((disk.size(), disk.open_count()), (0, 0));
}
