//! Other threads of the process between any two steps of a commit.
//!
//! What the engine promises whatever happens in between: no record is lost without being
//! counted and marked, each is in the file that was set when it was made, and a process's
//! records are in the order in which they were made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_engine::{Counter as _, QUEUE_LIMIT_MIN, SEGMENT_LEN};
use ktrace_format::{Kind, Payload, Timespec};
use ktrace_sim::{Disk, Engine, File, clock, interleave};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::trace_file::{assert_settled, assert_time_order, count, decode};
use crate::traced::{Traced, open};

const DISKS: usize = 2;

/// What another thread does.
#[derive(Clone, Debug)]
enum Other {
    /// Makes records where sleeping is not allowed.
    Faults(u64),
    Set(bool),
    Clear,
    Limit(usize),
}

/// What the thread does that is interrupted, and by whom: each after so many points.
#[derive(Clone, Debug)]
struct Step {
    commit: bool,
    interrupts: Vec<(u8, Other)>,
}

fn any_other() -> impl Strategy<Value = Other> {
    prop_oneof![
        6 => prop_oneof![1..4_u64, 40..120_u64].prop_map(Other::Faults),
        2 => any::<bool>().prop_map(Other::Set),
        1 => Just(Other::Clear),
        1 => (1..9_usize).prop_map(|segments| Other::Limit(segments * SEGMENT_LEN)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    (any::<bool>(), vec((0..12_u8, any_other()), 0..12))
        .prop_map(|(commit, interrupts)| Step { commit, interrupts })
}

/// What happened to the process, in the order of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The record is in a file.
    Written {
        disk: usize,
        drop: bool,
    },
    Queued(u64),
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
}

impl World {
    fn new() -> Rc<Self> {
        clock::make_deterministic(Duration::from_secs(1));
        let engine = Arc::new(Engine::new());
        engine.set_queue_limit(QUEUE_LIMIT_MIN).expect("the limit is in range");
        let disks = [Disk::new(), Disk::new()];
        let files = disks.each_ref().map(|disk| open(&engine, disk.open()));
        let traced = Traced::new(&engine, 1);
        let state = RefCell::new(State { last_number: 0, events: Vec::new(), most: QUEUE_LIMIT_MIN });
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
                    let before = dropped();
                    let traced = self.traced.fault(number);
                    match (traced, dropped() != before) {
                        (true, false) => self.note(Event::Queued(number)),
                        (true, true) => self.note(Event::Dropped),
                        (false, _) => {}
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
                self.engine.set_queue_limit(*bytes).expect("the limit is in range");
                let mut state = self.state.borrow_mut();
                state.most = state.most.max(*bytes);
            }
        }
        let (queued, most) = (self.traced.trace().queued(), self.state.borrow().most);
        assert!(queued <= most, "{queued} bytes are queued; the limit was never above {most}");
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
        let result = interleave::with(hook, || {
            if step.commit {
                self.traced.commit(&Payload::User(&number.to_ne_bytes()))
            } else {
                self.traced.drain()
            }
        });
        assert_eq!(result, Ok(()));
    }

    /// The process exits; its history is put in order and gone through.
    fn end(self: &Rc<Self>) {
        self.other(&Other::Clear);
        assert_eq!(self.traced.drain(), Ok(()));
        let mut events = std::mem::take(&mut self.state.borrow_mut().events);
        let mut missing = BTreeMap::new();
        for (time, event) in &events {
            if let Event::Queued(number) = event {
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
        assert!(missing.is_empty(), "records are lost: {missing:?}");
        assert_settled(&self.engine, &count(&all));
        // A file is set after the last record of the same time.
        events.sort_by_key(|(time, event)| (*time, matches!(event, Event::Set(_))));
        let (mut file, mut mark) = (None, false);
        for (time, event) in events {
            match event {
                Event::Written { disk, drop } => {
                    assert_eq!(Some(disk), file, "the record of {time:?} is in another file");
                    assert_eq!(drop, mark, "KTR_DROP of the record of {time:?}");
                    mark = false;
                }
                Event::Dropped => mark = true,
                Event::Set(new) => (file, mark) = (new, false),
                Event::Queued(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_between_any_two_steps(steps in vec(any_step(), 1..25)) {
        let world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.end();
    }
}
