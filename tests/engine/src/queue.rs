//! The queue of a process: its limit, its drops, and the files of its records.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_doubles::moment::{Moment, at};
use ktrace_doubles::{MaySleep, clock, decode, memory};
use ktrace_engine::{
    BATCH_BYTES_MIN, Counter as _, Pending, Policy, QUEUE_LIMIT_MIN, SEGMENT_LEN, Synchronous,
};
use ktrace_format::{FaultEnd, Kind, Payload};

use crate::host::{Disk, Engine};
use crate::trace_file::dropped;
use crate::traced::{Traced, engine_of_queues, in_another_thread};

fn engine_with_limit(limit: usize) -> Arc<Engine> {
    let engine = engine_of_queues();
    engine.settings.set_queue_limit(limit).expect("the limit is in range");
    engine
}

/// Makes records until one is dropped. Returns the number of the others.
fn fill(engine: &Engine, traced: &Traced) -> u64 {
    let before = dropped(engine, Kind::Fault);
    let mut made = 0;
    loop {
        traced.fault(made);
        if dropped(engine, Kind::Fault) != before {
            return made;
        }
        made += 1;
        assert!(made < 1_000_000, "the queue has no end");
    }
}

/// Puts a record into the queue, and none into the stream.
fn queue_only(traced: &Traced) {
    // The record is too long for the stream.
    assert!(traced.enqueue(&Payload::User(&[0; BATCH_BYTES_MIN / 4])));
    assert_ne!(traced.trace().queued(), 0);
}

#[test]
fn the_oldest_record_is_queued_or_in_the_stream() {
    clock::set(Duration::from_secs(1));
    let (engine, disk) = (engine_of_queues(), Disk::new());
    engine.settings.set_policy(Policy::Return);
    let (first, second) = (Traced::to(&engine, 1, disk.open()), Traced::to(&engine, 2, disk.open()));
    assert_eq!(first.trace().since(), None);
    queue_only(&first);
    let queued = first.trace().since();
    assert_eq!(queued, Some(clock::last_reading()));
    queue_only(&first);
    assert_eq!(first.trace().since(), queued, "not that of the newest");
    assert!(second.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 })));
    let gathered = second.trace().since();
    assert!(gathered > queued);
    assert!(gathered <= Some(clock::last_reading()));
    for traced in [first, second] {
        assert_eq!(traced.drain(), Ok(()));
        assert_eq!(traced.trace().since(), None);
    }
}

/// Returns for each record in the file whether it is marked `KTR_DROP`.
fn marks(disk: &Disk) -> Vec<bool> {
    decode(&disk.content()).iter().map(|record| record.header.drop).collect()
}

#[test]
fn a_queued_record_after_a_drop_says_so() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let mut made = traced.fill_stream();
    // As many as leave room for one more of them in a full queue.
    let smaller = || traced.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 }));
    made += (0..5).filter(|_| smaller()).count() as u64;
    made += fill(&engine, &traced);
    assert!(smaller());
    assert_eq!(dropped(&engine, Kind::FaultEnd), 0);
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    let expected: Vec<bool> = (0..=made).map(|index| index == made).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn an_encoded_record_without_room_for_its_header_is_dropped() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let mut short = [0; 63];
    let record = Synchronous::encoded(Kind::Genio, &mut short);
    let (pending, failures) = traced.trace().commit(MaySleep::new(), traced.origin(), record);
    assert_eq!((pending, failures.len()), (Pending::Nothing, 0));
    assert_eq!(dropped(&engine, Kind::Genio), 1);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    assert_eq!(marks(&disk), [true]);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn the_limit_follows_what_is_set_at_the_next_drain() {
    let (engine, disk) = (engine_with_limit(8 * SEGMENT_LEN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let in_stream = traced.fill_stream() - 1;
    for segments in [8, 2, 1, 4, 64] {
        engine.settings.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
        assert_eq!(traced.drain(), Ok(()));
        let queued = fill(&engine, &traced) - in_stream;
        assert!(traced.trace().queued() <= segments * SEGMENT_LEN);
        let least = segments.min(8) as u64 * (SEGMENT_LEN as u64 / 80);
        assert!(queued >= least, "{queued} records queued, there is room for {least}");
    }
}

#[test]
fn a_queue_is_overdue_when_it_is_found_twice() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    assert!(!traced.trace().is_overdue(1), "there is nothing to write");
    queue_only(&traced);
    assert!(!traced.trace().is_overdue(2), "its process may be about to write it");
    assert!(traced.trace().is_overdue(3));
    assert_eq!(traced.drain(), Ok(()));
    queue_only(&traced);
    assert!(!traced.trace().is_overdue(4), "another record begins from the start");
}

#[test]
fn a_queue_asks_for_help_before_it_is_full() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let mut number = traced.fill_stream();
    while traced.pending_fault(number) == Pending::Drain {
        number += 1;
        assert_eq!(dropped(&engine, Kind::Fault), 0, "a record was dropped before there was any help");
    }
    assert!(traced.trace().is_overdue(1), "help comes and finds nothing to do");
    assert_eq!(traced.drain(), Ok(()));
    queue_only(&traced);
    assert_eq!(traced.pending_fault(number), Pending::Drain);
    assert_eq!(dropped(&engine, Kind::Fault), 0);
}

#[test]
fn help_does_not_wait_for_a_suspended_file_system() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    queue_only(&traced);
    let trace = traced.trace();
    disk.suspend(|| in_another_thread(|| assert!(trace.help(MaySleep::new()).is_empty())));
    assert_eq!(disk.size(), 0);
    assert_ne!(trace.queued(), 0);
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 1);
}

#[test]
fn help_does_not_wait_for_a_thread_that_writes() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    let other = Rc::clone(&traced);
    let meanwhile = move || {
        queue_only(&other);
        assert_eq!(other.help(), Ok(()));
    };
    engine.settings.set_policy(Policy::Record);
    assert_eq!(at(Moment::Write, meanwhile, || traced.commit(&Payload::ProcDtor)), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (1, 0));
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (2, 1));
}

/// Fills a queue again and again, also while its file is written.
#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn a_queue_that_is_always_full_has_no_more_memory_than_its_limit_allows() {
    for segments in [1, 2, 8, 32] {
        let before = memory::segments();
        let (engine, disk) = (engine_with_limit(segments * SEGMENT_LEN), Disk::new());
        let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
        memory::take_most_segments();
        for _ in 0..10 {
            fill(&engine, &traced);
            let (hooked, counters) = (Rc::clone(&traced), Arc::clone(&engine));
            let meanwhile = move || {
                fill(&counters, &hooked);
            };
            assert_eq!(at(Moment::Write, meanwhile, || traced.drain()), Ok(()));
        }
        // Those that are filled and those that are written, a queue's own, and those that are ready.
        let (most, bound) = (memory::take_most_segments() - before, 2 * segments + 4 + 2 * segments);
        assert!(most <= bound, "{most} segments at once, with a limit of {segments}");
        traced.clear();
        assert_eq!(traced.finish(), Ok(()));
        drop((traced, engine, disk));
        assert_eq!(memory::segments(), before, "segments are left");
    }
}
