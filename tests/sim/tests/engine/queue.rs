//! The queue of a process: its limit, its drops, and the files of its records.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_engine::{
    BATCH_BYTES_MIN, Counter as _, Pending, Policy, QUEUE_LIMIT_MIN, SEGMENT_LEN, Synchronous,
};
use ktrace_format::{FaultEnd, Kind, Payload};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::{Disk, Engine, Faults, MaySleep, clock};

use crate::trace_file::{decode, dropped};
use crate::traced::{Traced, engine_of_queues, open};

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
    clock::make_deterministic(Duration::from_secs(1));
    let (engine, disk) = (engine_of_queues(), Disk::new());
    engine.settings.set_policy(Policy::Return);
    let (first, second) = (Traced::to(&engine, 1, disk.open()), Traced::to(&engine, 2, disk.open()));
    assert_eq!(first.trace().since(), None);
    queue_only(&first);
    let queued = first.trace().since();
    assert_eq!(queued, clock::last_reading());
    queue_only(&first);
    assert_eq!(first.trace().since(), queued, "not that of the newest");
    assert!(second.enqueue(&Payload::FaultEnd(FaultEnd { result: 0 })));
    let gathered = second.trace().since();
    assert!(gathered > queued);
    assert!(gathered <= clock::last_reading());
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
fn the_record_after_a_drop_says_so_and_no_other() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let made = fill(&engine, &traced);
    assert_eq!(traced.drain(), Ok(()));
    let again = fill(&engine, &traced);
    assert!(again > 1, "there is room again");
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    let expected: Vec<bool> = (0..made + again).map(|index| index == made).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn a_synchronous_record_after_a_drop_says_so() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let made = fill(&engine, &traced);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    let expected: Vec<bool> = (0..made + 2).map(|index| index == made).collect();
    assert_eq!(marks(&disk), expected);
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
fn a_record_of_its_own_after_a_drop_says_so() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let made = fill(&engine, &traced);
    assert_eq!(traced.commit(&Payload::User(&[0; SEGMENT_LEN])), Ok(()));
    assert_eq!(traced.commit(&Payload::User(&[0; SEGMENT_LEN])), Ok(()));
    let expected: Vec<bool> = (0..made + 2).map(|index| index == made).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn a_record_that_can_never_be_queued_is_dropped() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let faults = traced.fill_stream();
    let large = vec![0; SEGMENT_LEN];
    assert!(traced.enqueue(&Payload::User(&large)));
    assert_eq!(dropped(&engine, Kind::User), 1);
    assert!(traced.fault(1), "others still are");
    assert_eq!(traced.drain(), Ok(()));
    let expected: Vec<bool> = (0..=faults).map(|index| index == faults).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn a_synchronous_record_may_be_larger_than_the_queue() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let large = vec![7; 10 * SEGMENT_LEN];
    assert_eq!(traced.commit(&Payload::User(&large)), Ok(()));
    assert_eq!(decode(&disk.content())[0].payload, Payload::User(&large));
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
fn what_is_queued_goes_to_the_file_that_was_set_then() {
    let engine = engine_of_queues();
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let traced = Traced::new(&engine, 1);
    traced.set(&open(&engine, disks[0].open()));
    let faults = traced.fill_stream();
    for (count, disk) in (1..).zip(&disks[1..]) {
        traced.set(&open(&engine, disk.open()));
        for number in 0..count {
            assert!(traced.fault(number));
        }
    }
    assert_eq!(disks.each_ref().map(|disk| disk.open_count()), [1, 1, 1]);
    assert_eq!(traced.drain(), Ok(()));
    let faults = usize::try_from(faults).expect("there are few");
    assert_eq!(disks.each_ref().map(|disk| decode(&disk.content()).len()), [faults, 1, 2]);
    assert_eq!(traced.finish(), Ok(()), "there is nothing left");
    assert_eq!(disks.each_ref().map(|disk| disk.open_count()), [0, 0, 1], "old files are closed");
}

#[test]
fn after_a_clear_nothing_is_queued_and_what_was_is_written() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let faults = traced.fill_stream();
    traced.clear();
    let (queued, pending) = (traced.trace().queued(), engine.stats.queued.fetch());
    assert!(!traced.fault(2));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!((traced.trace().queued(), engine.stats.queued.fetch()), (queued, pending));
    assert_eq!(traced.finish(), Ok(()));
    assert_eq!(decode(&disk.content()).len() as u64, faults);
    assert_eq!((disk.open_count(), engine.stats.files.fetch()), (0, 0));
    assert_eq!((traced.trace().queued(), engine.stats.queued.fetch()), (0, 0));
}

#[test]
fn the_limit_holds_for_a_burst_after_a_drain_during_which_the_queue_was_filled() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    fill(&engine, &traced);
    for _ in 0..4 {
        let (hooked, counters) = (Rc::clone(&traced), Arc::clone(&engine));
        let drained = interleave::with(
            move |point| {
                if point == Point::Append {
                    fill(&counters, &hooked);
                }
            },
            || traced.drain(),
        );
        assert_eq!(drained, Ok(()));
        fill(&engine, &traced);
        let (queued, limit) = (traced.trace().queued(), engine.settings.queue_limit());
        assert!(queued <= limit, "{queued} bytes are queued, and the limit is {limit}");
    }
    assert!(engine.stats.queued_max() <= QUEUE_LIMIT_MIN as u64);
}

#[test]
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
fn the_bytes_that_are_queued_never_count_below_zero() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    let (hooked, counters) = (Rc::clone(&traced), Arc::clone(&engine));
    traced.fill_stream();
    // Another thread drains the queue as soon as the record is in it.
    interleave::with(
        move |_| {
            assert_eq!(hooked.drain(), Ok(()));
            hooked.trace().want_flush();
            assert_eq!(hooked.drain(), Ok(()));
            let queued = counters.stats.queued.fetch();
            assert!(queued < 1 << 32, "{} bytes are queued", queued.cast_signed());
        },
        || traced.fault(1),
    );
    assert_eq!(engine.stats.queued.fetch(), 0);
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
fn a_dropped_record_asks_for_help() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    fill(&engine, &traced);
    assert_eq!(traced.pending_fault(0), Pending::Help);
    traced.clear();
    assert_eq!(traced.pending_fault(0), Pending::Nothing);
}

#[test]
fn help_writes_what_is_queued() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let faults = traced.fill_stream();
    assert_eq!(traced.help(), Ok(()));
    assert_eq!(decode(&disk.content()).len() as u64, faults);
    assert_eq!((traced.trace().queued(), engine.stats.helped.fetch()), (0, 1));
    assert_eq!(traced.help(), Ok(()), "there is nothing left");
    assert_eq!(engine.stats.helped.fetch(), 1);
}

#[test]
fn help_does_not_wait_for_a_suspended_file_system() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    queue_only(&traced);
    disk.set_faults(Faults { suspended: true, ..Faults::default() });
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((disk.size(), decode(&disk.content()).len()), (0, 0));
    assert_ne!(traced.trace().queued(), 0);
    disk.set_faults(Faults::default());
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 1);
}

#[test]
fn help_does_not_wait_for_a_thread_that_writes() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    let other = Rc::clone(&traced);
    let meanwhile = move |point| {
        if point == Point::Append {
            queue_only(&other);
            assert_eq!(other.help(), Ok(()));
        }
    };
    engine.settings.set_policy(Policy::Record);
    assert_eq!(interleave::with(meanwhile, || traced.commit(&Payload::ProcDtor)), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (1, 0));
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (2, 1));
}

#[test]
fn help_leaves_the_records_of_two_files_to_who_set_the_second() {
    let (engine, old, new) = (engine_of_queues(), Disk::new(), Disk::new());
    let traced = Traced::to(&engine, 1, old.open());
    queue_only(&traced);
    traced.set(&open(&engine, new.open()));
    traced.fault(1);
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((old.size(), new.size()), (0, 0));
    assert_eq!(traced.finish(), Ok(()));
    assert_eq!((decode(&old.content()).len(), decode(&new.content()).len()), (1, 1));
}
