//! The queue of a process: its limit, its drops, and where its records go.

use std::rc::Rc;
use std::sync::Arc;

use ktrace_engine::{
    Counter as _, Errno, LATENCY_DEFAULT, LATENCY_MAX, Pending, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX,
    QUEUE_LIMIT_MIN, SEGMENT_LEN, Synchronous,
};
use ktrace_format::{Kind, Payload};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::{Disk, Engine, Faults, MaySleep};

use crate::trace_file::{decode, dropped};
use crate::traced::{Traced, open};

fn engine_with_limit(limit: usize) -> Arc<Engine> {
    let engine = Arc::new(Engine::new());
    engine.set_queue_limit(limit).expect("the limit is in range");
    engine
}

/// Queues records until one is dropped, and returns how many were queued.
fn fill(engine: &Engine, traced: &Traced) -> u64 {
    let before = dropped(engine, Kind::Fault);
    let mut queued = 0;
    loop {
        traced.fault(queued);
        if dropped(engine, Kind::Fault) != before {
            return queued;
        }
        queued += 1;
        assert!(queued < 1_000_000, "the queue has no end");
    }
}

/// Which of the file's records say that others were dropped before.
fn marks(disk: &Disk) -> Vec<bool> {
    decode(&disk.content()).iter().map(|record| record.header.drop).collect()
}

#[test]
fn limits_out_of_range_are_refused() {
    let engine = Engine::new();
    for limit in [0, 1, QUEUE_LIMIT_MIN - 1, QUEUE_LIMIT_MAX + 1, usize::MAX] {
        assert_eq!(engine.set_queue_limit(limit), Err(Errno(22)));
        assert_eq!(engine.queue_limit(), QUEUE_LIMIT_DEFAULT);
    }
    for limit in [QUEUE_LIMIT_MIN, QUEUE_LIMIT_MAX] {
        assert_eq!(engine.set_queue_limit(limit), Ok(()));
        assert_eq!(engine.queue_limit(), limit);
    }
}

#[test]
fn the_record_after_a_drop_says_so_and_no_other() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let queued = fill(&engine, &traced);
    assert_eq!(traced.drain(), Ok(()));
    assert!(traced.fault(0), "there is room again");
    assert!(traced.fault(1));
    assert_eq!(traced.drain(), Ok(()));
    let expected: Vec<bool> = (0..queued + 2).map(|index| index == queued).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn a_synchronous_record_after_a_drop_says_so() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let queued = fill(&engine, &traced);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    let expected: Vec<bool> = (0..queued + 2).map(|index| index == queued).collect();
    assert_eq!(marks(&disk), expected);
}

#[test]
fn a_record_that_can_never_be_queued_is_dropped() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let large = vec![0; SEGMENT_LEN];
    assert!(traced.enqueue(&Payload::User(&large)));
    assert_eq!(dropped(&engine, Kind::User), 1);
    assert!(traced.fault(1), "others still are");
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(marks(&disk), [true]);
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
    let record = Synchronous::Encoded { kind: Kind::Genio, record: &mut short };
    assert_eq!(traced.trace().commit(MaySleep::new(), 0, traced.origin(), record), Ok(()));
    assert_eq!(dropped(&engine, Kind::Genio), 1);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
    assert_eq!(marks(&disk), [true]);
}

#[test]
fn what_is_queued_goes_to_the_file_that_was_set_then() {
    let engine = Arc::new(Engine::new());
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let traced = Traced::new(&engine, 1);
    for (count, disk) in (1..).zip(&disks) {
        traced.set(&open(&engine, disk.open()));
        for number in 0..count {
            assert!(traced.fault(number));
        }
    }
    assert_eq!(disks.each_ref().map(|disk| disk.open_count()), [1, 1, 1]);
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(disks.each_ref().map(|disk| decode(&disk.content()).len()), [1, 2, 3]);
    assert_eq!(disks.each_ref().map(|disk| disk.open_count()), [0, 0, 1], "old files are closed");
}

#[test]
fn after_a_clear_nothing_is_queued_and_what_was_is_written() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    assert!(traced.fault(1));
    traced.clear();
    let queued = traced.trace().queued();
    assert!(!traced.fault(2));
    assert_eq!(traced.trace().queued(), queued);
    assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()), "which writes what was queued before");
    assert_eq!(decode(&disk.content()).len(), 1);
    assert_eq!((disk.open_count(), engine.stats.files.fetch()), (0, 0));
}

#[test]
fn the_limit_holds_for_a_burst_after_a_drain_during_which_the_queue_was_filled() {
    let (engine, disk) = (engine_with_limit(QUEUE_LIMIT_MIN), Disk::new());
    let traced = std::rc::Rc::new(Traced::to(&engine, 1, disk.open()));
    fill(&engine, &traced);
    for _ in 0..4 {
        let (hooked, counters) = (std::rc::Rc::clone(&traced), Arc::clone(&engine));
        let drained = ktrace_sim::interleave::with(
            move |point| {
                if point == ktrace_sim::interleave::Point::Append {
                    fill(&counters, &hooked);
                }
            },
            || traced.drain(),
        );
        assert_eq!(drained, Ok(()));
        fill(&engine, &traced);
        let (queued, limit) = (traced.trace().queued(), engine.queue_limit());
        assert!(queued <= limit, "{queued} bytes are queued, and the limit is {limit}");
    }
    assert!(engine.stats.queued_max() <= QUEUE_LIMIT_MIN as u64);
}

#[test]
fn the_limit_follows_what_is_set_at_the_next_drain() {
    let (engine, disk) = (engine_with_limit(8 * SEGMENT_LEN), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    for segments in [8, 2, 1, 4, 64] {
        engine.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
        assert_eq!(traced.drain(), Ok(()));
        let queued = fill(&engine, &traced);
        assert!(traced.trace().queued() <= segments * SEGMENT_LEN);
        let least = segments.min(8) as u64 * (SEGMENT_LEN as u64 / 80);
        assert!(queued >= least, "{queued} records queued, there is room for {least}");
    }
}

#[test]
fn the_bytes_that_are_queued_never_count_below_zero() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = std::rc::Rc::new(Traced::to(&engine, 1, disk.open()));
    let (hooked, counters) = (std::rc::Rc::clone(&traced), Arc::clone(&engine));
    // Another thread drains the queue as soon as the record is in it.
    ktrace_sim::interleave::with(
        move |_| {
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
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    assert!(!traced.trace().is_overdue(), "there is nothing to write");
    traced.fault(0);
    assert!(!traced.trace().is_overdue(), "its process may be about to write it");
    assert!(traced.trace().is_overdue());
    assert_eq!(traced.drain(), Ok(()));
    traced.fault(1);
    assert!(!traced.trace().is_overdue(), "another record begins from the start");
}

#[test]
fn a_queue_asks_for_help_before_it_is_full() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    let mut number = 0;
    while traced.pending_fault(number) == Pending::Drain {
        number += 1;
        assert_eq!(dropped(&engine, Kind::Fault), 0, "a record was dropped before there was any help");
    }
    assert!(traced.trace().is_overdue(), "help comes and finds nothing to do");
    assert_eq!(traced.drain(), Ok(()));
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
fn latencies_out_of_range_are_refused() {
    let engine = Engine::new();
    for latency in [0, LATENCY_MAX + 1, u32::MAX] {
        assert_eq!(engine.set_latency(latency), Err(Errno(22)));
        assert_eq!(engine.latency(), LATENCY_DEFAULT);
    }
    for latency in [1, LATENCY_MAX] {
        assert_eq!(engine.set_latency(latency), Ok(()));
        assert_eq!(engine.latency(), latency);
    }
}

#[test]
fn help_writes_what_is_queued() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    traced.fault(0);
    assert_eq!(traced.help(), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 1);
    assert_eq!((traced.trace().queued(), engine.stats.helped.fetch()), (0, 1));
    assert_eq!(traced.help(), Ok(()), "there is nothing left");
    assert_eq!(engine.stats.helped.fetch(), 1);
}

#[test]
fn help_does_not_wait_for_a_suspended_file_system() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    traced.fault(0);
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
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Rc::new(Traced::to(&engine, 1, disk.open()));
    let other = Rc::clone(&traced);
    let meanwhile = move |point| {
        if point == Point::Append {
            assert!(other.fault(0));
            assert_eq!(other.help(), Ok(()));
        }
    };
    assert_eq!(interleave::with(meanwhile, || traced.commit(&Payload::ProcDtor)), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (1, 0));
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((decode(&disk.content()).len(), engine.stats.helped.fetch()), (2, 1));
}

#[test]
fn help_leaves_the_records_of_two_files_to_who_set_the_second() {
    let (engine, old, new) = (Arc::new(Engine::new()), Disk::new(), Disk::new());
    let traced = Traced::to(&engine, 1, old.open());
    traced.fault(0);
    traced.set(&open(&engine, new.open()));
    traced.fault(1);
    assert_eq!(traced.help(), Ok(()));
    assert_eq!((old.size(), new.size()), (0, 0));
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!((decode(&old.content()).len(), decode(&new.content()).len()), (1, 1));
}
