//! Other threads of the process run between any two steps of a commit.
//!
//! The engine's promises hold whatever happens in between. No record is lost without being counted
//! and marked. Each record is in the file that was set when it was made. A process's records are in
//! the order in which they were made. If a file fails, only records for that file are missing, and
//! all of them are counted.
//!
//! Allocations do not fail here. The engine allocates only where sleeping is allowed, and there the
//! kernel's allocator waits (`M_WAITOK`). The allocator of these tests checks at each queued record
//! that the engine does not allocate anywhere else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_engine::{BATCH_BYTES_MIN, Counter as _, Errno, Pending, Policy, QUEUE_LIMIT_MIN, SEGMENT_LEN};
use ktrace_format::{Kind, Payload, Timespec};
use ktrace_sim::{Disk, EIO, ENOSPC, Engine, Faults, File, MaySleep, clock, interleave};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::trace_file::{assert_settled, assert_time_order, count, decode, dropped};
use crate::traced::{Traced, engine_of_queues, open, settle};

const DISKS: usize = 2;

/// An operation of another thread.
#[derive(Clone, Debug)]
enum Other {
    /// Some records made where sleeping is not allowed.
    Faults(u64),
    Set(bool),
    Clear,
    Limit(usize),
    /// A change of a setting.
    Policy(Policy),
    Batch {
        bytes: usize,
        records: usize,
    },
    /// A write of the pending records, unless another thread is writing.
    Help,
    /// A change of the first file, or of the second.
    Fault(bool, Fault),
}

/// A change of a file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Room for this many more bytes.
    Room(usize),
    /// A failure of this many writes.
    Broken(u64),
    Dead,
    Slow,
    Repaired,
}

/// The operation of the interrupted thread.
#[derive(Clone, Copy, Debug)]
enum Interrupted {
    /// A record of this length, made where sleeping is allowed.
    Commit(usize),
    Drain,
    /// A flush of the files that others have replaced.
    Finish,
}

/// An operation of the thread, and its interruptions. Each comes after a number of points.
#[derive(Clone, Debug)]
struct Step {
    interrupted: Interrupted,
    interrupts: Vec<(u8, Other)>,
}

fn any_other() -> impl Strategy<Value = Other> {
    prop_oneof![
        8 => prop_oneof![1..4_u64, 40..240_u64].prop_map(Other::Faults),
        2 => any::<bool>().prop_map(Other::Set),
        1 => Just(Other::Clear),
        1 => (1..9_usize).prop_map(|segments| Other::Limit(segments * SEGMENT_LEN)),
        1 => select(&Policy::ALL[..]).prop_map(Other::Policy),
        1 => (any_batch_bytes(), prop_oneof![1..200_usize, Just(1_000_000)])
            .prop_map(|(bytes, records)| Other::Batch { bytes, records }),
        2 => Just(Other::Help),
    ]
}

fn any_batch_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(BATCH_BYTES_MIN), 1 => BATCH_BYTES_MIN..4 * BATCH_BYTES_MIN]
}

fn any_interrupted() -> impl Strategy<Value = Interrupted> {
    prop_oneof![
        3 => (8..200_usize).prop_map(Interrupted::Commit),
        1 => (1000..4000_usize).prop_map(Interrupted::Commit),
        3 => Just(Interrupted::Drain),
        1 => Just(Interrupted::Finish),
    ]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0..3000_usize).prop_map(Fault::Room),
        3 => (1..4_u64).prop_map(Fault::Broken),
        1 => Just(Fault::Dead),
        1 => Just(Fault::Slow),
        2 => Just(Fault::Repaired),
    ]
}

fn any_other_or_fault() -> impl Strategy<Value = Other> {
    prop_oneof![
        6 => any_other(),
        1 => (any::<bool>(), any_fault()).prop_map(|(second, fault)| Other::Fault(second, fault)),
    ]
}

fn any_step(other: impl Strategy<Value = Other>) -> impl Strategy<Value = Step> {
    (any_interrupted(), vec((0..12_u8, other), 0..12))
        .prop_map(|(interrupted, interrupts)| Step { interrupted, interrupts })
}

/// An event of the process. Events are sorted by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A record in a file.
    Written {
        disk: usize,
        drop: bool,
    },
    Made(u64),
    Dropped,
    Set(Option<usize>),
}

struct World {
    engine: Arc<Engine>,
    disks: [Arc<Disk>; DISKS],
    files: [Arc<File>; DISKS],
    traced: Traced,
    state: RefCell<State>,
}

struct State {
    last_number: u64,
    events: Vec<(Timespec, Event)>,
    most: usize,
    /// Whether a write to the file may fail.
    may_fail: [bool; DISKS],
}

impl World {
    fn new() -> Rc<Self> {
        clock::make_deterministic(Duration::from_secs(1));
        let engine = engine_of_queues();
        engine.settings.set_queue_limit(QUEUE_LIMIT_MIN).expect("the limit is in range");
        let disks = [Disk::new(), Disk::new()];
        let files = disks.each_ref().map(|disk| open(&engine, disk.open()));
        let traced = Traced::new(&engine, 1);
        let state = RefCell::new(State {
            last_number: 0,
            events: Vec::new(),
            most: QUEUE_LIMIT_MIN,
            may_fail: [false; DISKS],
        });
        let world = Rc::new(World { engine, disks, files, traced, state });
        world.other(&Other::Set(false));
        world
    }

    fn note(&self, event: Event) {
        let time = clock::last_reading().expect("the clock is deterministic");
        self.state.borrow_mut().events.push((time, event));
    }

    fn number(&self) -> u64 {
        let mut state = self.state.borrow_mut();
        state.last_number += 1;
        state.last_number
    }

    fn other(&self, other: &Other) {
        match other {
            Other::Faults(records) => {
                for _ in 0..*records {
                    let number = self.number();
                    let dropped = || self.engine.stats.dropped.get(Kind::Fault).fetch();
                    let (before, traced) = (dropped(), self.traced.trace().is_traced());
                    let pending = self.traced.pending_fault(number);
                    match (traced, dropped() != before) {
                        (true, false) => self.note(Event::Made(number)),
                        (true, true) => self.note(Event::Dropped),
                        (false, _) => assert_eq!(pending, Pending::Nothing),
                    }
                }
            }
            Other::Set(second) => {
                self.traced.set(&self.files[usize::from(*second)]);
                self.note(Event::Set(Some(usize::from(*second))));
            }
            Other::Clear => {
                self.traced.clear();
                self.note(Event::Set(None));
            }
            Other::Limit(bytes) => {
                self.engine.settings.set_queue_limit(*bytes).expect("the limit is in range");
                let mut state = self.state.borrow_mut();
                state.most = state.most.max(*bytes);
            }
            Other::Policy(policy) => self.engine.settings.set_policy(*policy),
            Other::Batch { bytes, records } => {
                self.engine.settings.set_batch_bytes(*bytes).expect("the size is in range");
                self.engine.settings.set_batch_records(*records).expect("the number is in range");
            }
            Other::Help => {
                self.assert_expected(&settle(&[&self.traced], self.traced.trace().help(MaySleep::new())))
            }
            Other::Fault(second, fault) => self.fault(usize::from(*second), *fault),
        }
        let (queued, most) = (self.traced.trace().queued(), self.state.borrow().most);
        assert!(queued <= most, "{queued} bytes are queued; the limit was never above {most}");
    }

    fn fault(&self, disk: usize, fault: Fault) {
        let (at, works) = (&self.disks[disk], Faults::default());
        let faults = match fault {
            Fault::Room(room) => Faults { capacity: Some(at.size() + room), ..works },
            Fault::Broken(writes) => Faults { broken: at.attempts()..at.attempts() + writes, ..works },
            Fault::Dead => Faults { dead: true, ..works },
            Fault::Slow => Faults { delay: Duration::from_micros(10), ..works },
            Fault::Repaired => works,
        };
        at.set_faults(faults);
        if !matches!(fault, Fault::Slow | Fault::Repaired) {
            self.state.borrow_mut().may_fail[disk] = true;
        }
    }

    /// Checks that the failures reported by the engine are possible.
    fn assert_expected(&self, told: &[(i32, Errno)]) {
        let may_fail = self.state.borrow().may_fail.contains(&true);
        for (_, errno) in told {
            assert!(may_fail && [EIO, ENOSPC].contains(errno), "{errno:?}");
        }
    }

    fn step(self: &Rc<Self>, step: &Step) {
        let (world, mut interrupts) = (Rc::clone(self), step.interrupts.clone().into_iter());
        let mut next = interrupts.next();
        let hook = move |_| match &mut next {
            Some((0, other)) => {
                world.other(other);
                next = interrupts.next();
            }
            Some((points, _)) => *points -= 1,
            None => {}
        };
        let number = self.number();
        let failures = interleave::with(hook, || match step.interrupted {
            Interrupted::Commit(len) => {
                let mut data = vec![0; len];
                data[..8].copy_from_slice(&number.to_ne_bytes());
                self.traced.try_commit(&Payload::User(&data)).1
            }
            Interrupted::Drain => self.traced.try_drain(),
            Interrupted::Finish => self.traced.try_finish(),
        });
        self.assert_expected(&settle(&[&self.traced], failures));
    }

    /// Ends the process, and checks its events in order.
    fn end(self: &Rc<Self>) {
        self.other(&Other::Clear);
        self.assert_expected(&settle(&[&self.traced], self.traced.try_finish()));
        // Records made while a file failed are still pending, and the file is still open.
        for file in &self.files {
            let failures = self.traced.trace().flush(MaySleep::new(), file);
            self.assert_expected(&settle(&[&self.traced], failures));
        }
        let mut events = std::mem::take(&mut self.state.borrow_mut().events);
        let mut missing = BTreeMap::new();
        for (time, event) in &events {
            if let Event::Made(number) = event {
                missing.insert(*number, *time);
            }
        }
        let contents = self.disks.each_ref().map(|disk| disk.content());
        let mut all = Vec::new();
        for (disk, content) in contents.iter().enumerate() {
            let records = decode(content);
            assert_time_order(&records);
            for record in &records {
                if let Payload::Fault(fault) = record.payload {
                    assert_eq!(missing.remove(&fault.vaddr), Some(record.header.time));
                }
                events.push((record.header.time, Event::Written { disk, drop: record.header.drop }));
            }
            all.extend(records);
        }
        let full = events.iter().filter(|(_, event)| *event == Event::Dropped).count();
        let dropped = |kind| dropped(&self.engine, kind);
        assert_eq!(dropped(Kind::Fault), (full + missing.len()) as u64, "lost: {missing:?}");
        assert_settled(&self.engine, &count(&all));
        // A file was set after the last record of the same time.
        events.sort_by_key(|(time, event)| (*time, matches!(event, Event::Set(_))));
        let may_fail = self.state.borrow().may_fail;
        // A lost synchronous record may have carried the mark of any drop before it.
        let marks_are_known = dropped(Kind::User) == 0;
        let (mut file, mut mark) = (None, false);
        for (time, event) in events {
            match event {
                Event::Written { disk, drop } => {
                    assert_eq!(Some(disk), file, "the record of {time:?} is in another file");
                    assert!(drop == mark || !marks_are_known, "KTR_DROP of the record of {time:?}");
                    mark = false;
                }
                Event::Dropped => mark = true,
                Event::Set(new) => (file, mark) = (new, false),
                Event::Made(number) if missing.contains_key(&number) => {
                    assert!(file.is_some_and(|file| may_fail[file]), "record {number} is lost");
                    mark = false;
                }
                Event::Made(_) => {}
            }
        }
    }
}

fn run(steps: &[Step]) {
    let world = World::new();
    for step in steps {
        world.step(step);
    }
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_between_any_two_steps(steps in vec(any_step(any_other()), 1..25)) {
        run(&steps);
    }

    #[test]
    fn promises_hold_while_files_fail(steps in vec(any_step(any_other_or_fault()), 1..25)) {
        run(&steps);
    }
}
