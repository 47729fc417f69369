//! The progress that a trace and its file report.

use ktrace_doubles::{Faults, decode};
use ktrace_engine::{Counter as _, FileProgress, Policy, TraceFile};
use ktrace_format::{Genio, Payload};

use crate::host::Disk;
use crate::traced::{Traced, engine_of_queues, open};

const PATH: Payload<'_> = Payload::Namei(b"/etc/pwd");

/// The lengths of a record of [`PATH`] and of a fault.
const PATH_LEN: usize = 64 + 8;
const FAULT_LEN: usize = 64 + 16;

/// Returns the bytes that a process has queued and made, and the records that it has dropped.
fn process(traced: &Traced) -> (usize, u64, u64) {
    let (progress, ()) = traced.trace().progress(|_| ()).expect("the process is traced");
    (progress.queued, progress.made, progress.dropped)
}

#[test]
fn what_is_gathered_is_what_is_written_then() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let file = open(&engine, disk.open());
    let (one, other) = (Traced::new(&engine, 1), Traced::new(&engine, 2));
    assert!(one.trace().progress(|_| ()).is_none());
    one.set(&file);
    other.set(&file);
    for _ in 0..3 {
        assert_eq!(one.commit(&PATH), Ok(()));
        other.fault(7);
    }
    let gathered = 3 * (PATH_LEN + FAULT_LEN);
    assert_eq!(file.progress(), FileProgress { commits: 0, bytes: 0, records: 0, gathered });
    assert_eq!(process(&one), (0, 3 * PATH_LEN as u64, 0));
    let of_file = one.trace().progress(TraceFile::progress).expect("the process is traced").1;
    assert_eq!(of_file, file.progress());
    assert_eq!(process(&other), (0, 3 * FAULT_LEN as u64, 0));
    engine.settings.set_policy(Policy::Return);
    assert_eq!(one.drain(), Ok(()));
    let bytes = gathered as u64;
    assert_eq!(file.progress(), FileProgress { commits: 1, bytes, records: 6, gathered: 0 });
    assert_eq!(disk.size(), gathered);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn a_queue_and_what_has_no_room_in_it_are_told() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let file = open(&engine, disk.open());
    let traced = Traced::new(&engine, 1);
    traced.set(&file);
    let faults = traced.fill_stream();
    assert_eq!(process(&traced), (FAULT_LEN, faults * FAULT_LEN as u64, 0));
    let mut faults = faults;
    while engine.stats.dropped.iter().all(|(_, dropped)| dropped.fetch() == 0) {
        traced.fault(faults);
        faults += 1;
    }
    traced.fault(faults);
    let (queued, made, dropped) = process(&traced);
    assert_eq!((queued, made, dropped), (traced.trace().queued(), (faults - 1) * FAULT_LEN as u64, 2));
    assert_eq!(traced.drain(), Ok(()));
    let records = faults - 1;
    let found = file.progress();
    assert_eq!((found.records, found.bytes), (records, records * FAULT_LEN as u64));
    assert_eq!(decode(&disk.content()).len() as u64, records);
}

#[test]
fn a_record_that_is_written_alone_and_one_that_fails() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let file = open(&engine, disk.open());
    let traced = Traced::new(&engine, 1);
    traced.set(&file);
    let data = vec![1; 8192];
    assert_eq!(traced.commit(&Payload::Genio(Genio { fd: 0, rw: 0, data: &data })), Ok(()));
    let bytes = 64 + 8 + 8192;
    let written = FileProgress { commits: 1, bytes, records: 1, gathered: 0 };
    assert_eq!((file.progress(), process(&traced)), (written, (0, bytes, 0)));
    disk.set_faults(Faults::DEAD);
    assert!(traced.commit(&Payload::Genio(Genio { fd: 0, rw: 0, data: &data })).is_err());
    assert_eq!(file.progress(), written);
    assert!(traced.trace().progress(|_| ()).is_none(), "its tracing has ended");
}

#[test]
fn what_a_process_has_made_is_counted_from_the_beginning_of_its_tracing() {
    let engine = engine_of_queues();
    let (file, other) = (open(&engine, Disk::new().open()), open(&engine, Disk::new().open()));
    let traced = Traced::new(&engine, 1);
    traced.set(&file);
    assert_eq!(traced.commit(&PATH), Ok(()));
    traced.set(&other);
    assert_eq!(process(&traced), (0, PATH_LEN as u64, 0), "it is still traced");
    traced.clear();
    traced.set(&file);
    assert_eq!(process(&traced), (0, 0, 0));
}

#[test]
fn traces_are_counted_until_they_are_gone() {
    let engine = engine_of_queues();
    let (one, other) = (Traced::new(&engine, 1), Traced::new(&engine, 2));
    one.set(&open(&engine, Disk::new().open()));
    let counted = || (engine.stats.traces.fetch(), engine.stats.procs.fetch());
    assert_eq!(counted(), (2, 1));
    drop(other);
    assert_eq!(counted(), (1, 1));
    drop(one);
    assert_eq!(counted(), (0, 0));
}
