//! Random sequences of operations must have the same result on the engine and on a model.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_doubles::moment::{Moment, at};
use ktrace_doubles::{Faults, MaySleep, clock, decode};
use ktrace_engine::{
    BATCH_BYTES_MIN, BATCH_RECORDS_DEFAULT, Counter as _, Errno, LATENCY_MAX, Pending, Policy,
    QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN, SEGMENT_LEN, Synchronous,
};
use ktrace_format::{CapData, Genio, HEADER_LEN, Kind, Payload, Record, Timespec};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::expected::{DISKS, FILES, Fate, Made, Model, Operation, PROCESSES};
use crate::host::{Disk, Engine, Failures, File};
use crate::trace_file::assert_time_order;
use crate::traced::{Traced, asynchronous, engine_of_queues, open_alone, settle};

/// An operation that does not sleep, and so can happen at any time.
#[derive(Clone, Debug)]
enum Quick {
    /// Some records made where sleeping is not allowed.
    Asynchronous {
        process: Index,
        choice: u8,
        records: usize,
    },
    /// A record that no queue can hold, and only a large stream.
    TooLarge {
        process: Index,
    },
    Set {
        process: Index,
        file: Index,
    },
    Clear {
        process: Index,
    },
    Limit {
        bytes: usize,
    },
    Policy {
        policy: Policy,
    },
    Batch {
        bytes: usize,
        records: usize,
    },
    AtOnce {
        facilities: u32,
    },
}

/// A record made where sleeping is not allowed, and the engine's treatment of it.
#[derive(Clone, Debug)]
struct Outcome {
    made: Made,
    pending: Pending,
    dropped: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Quick(Quick),
    /// A synchronous record. `during` happens during the first write.
    Commit {
        process: Index,
        len: usize,
        encoded: bool,
        during: Vec<Quick>,
    },
    /// A return to user mode.
    Drain {
        process: Index,
        during: Vec<Quick>,
    },
    /// A flush of the files that the process does not trace to any more.
    Finish {
        process: Index,
        during: Vec<Quick>,
    },
    /// A write on the process's behalf by another thread.
    Help {
        process: Index,
        during: Vec<Quick>,
    },
    /// A limit of the free space on a disk, or no limit.
    Room {
        disk: Index,
        room: Option<usize>,
    },
    Dead {
        disk: Index,
        dead: bool,
    },
}

fn any_limit() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => QUEUE_LIMIT_MIN..12 * SEGMENT_LEN,
        1 => prop_oneof![Just(QUEUE_LIMIT_DEFAULT), Just(QUEUE_LIMIT_MAX)],
        1 => prop_oneof![Just(0), Just(QUEUE_LIMIT_MIN - 1), Just(QUEUE_LIMIT_MAX + 1), Just(usize::MAX)],
    ]
}

fn any_len() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..300_usize, 1 => 0..9000_usize]
}

fn any_quick() -> impl Strategy<Value = Quick> {
    prop_oneof![
        12 => (any::<Index>(), any::<u8>(), prop_oneof![4 => 1..8_usize, 1 => 8..120_usize])
            .prop_map(|(process, choice, records)| Quick::Asynchronous { process, choice, records }),
        1 => any::<Index>().prop_map(|process| Quick::TooLarge { process }),
        4 => (any::<Index>(), any::<Index>()).prop_map(|(process, file)| Quick::Set { process, file }),
        1 => any::<Index>().prop_map(|process| Quick::Clear { process }),
        1 => any_limit().prop_map(|bytes| Quick::Limit { bytes }),
        2 => select(&Policy::ALL[..]).prop_map(|policy| Quick::Policy { policy }),
        1 => (any_batch_bytes(), prop_oneof![1..100_usize, Just(BATCH_RECORDS_DEFAULT)])
            .prop_map(|(bytes, records)| Quick::Batch { bytes, records }),
        1 => select(vec![0, Kind::Fault.facility(), Kind::Genio.facility(), u32::MAX])
            .prop_map(|facilities| Quick::AtOnce { facilities }),
    ]
}

fn any_batch_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(BATCH_BYTES_MIN), 1 => BATCH_BYTES_MIN..3 * BATCH_BYTES_MIN]
}

fn any_step() -> impl Strategy<Value = Step> {
    let during = || vec(any_quick(), 0..4);
    prop_oneof![
        8 => any_quick().prop_map(Step::Quick),
        4 => (any::<Index>(), any_len(), any::<bool>(), during()).prop_map(
            |(process, len, encoded, during)| Step::Commit { process, len, encoded, during }
        ),
        3 => (any::<Index>(), during()).prop_map(|(process, during)| Step::Drain { process, during }),
        2 => (any::<Index>(), during()).prop_map(|(process, during)| Step::Finish { process, during }),
        1 => (any::<Index>(), during()).prop_map(|(process, during)| Step::Help { process, during }),
        1 => (any::<Index>(), prop_oneof![Just(None), (0..3000_usize).prop_map(Some)])
            .prop_map(|(disk, room)| Step::Room { disk, room }),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(disk, dead)| Step::Dead { disk, dead }),
    ]
}

/// The engine's side and the model's.
struct World {
    engine: Arc<Engine>,
    disks: Vec<Arc<Disk>>,
    files: Vec<Arc<File>>,
    processes: Vec<Traced>,
    model: RefCell<Model>,
    last_number: Cell<u64>,
}

impl World {
    fn new() -> Rc<Self> {
        clock::set(Duration::from_secs(1_000_000_000));
        let engine = engine_of_queues();
        // The latency plays no part in these tests.
        engine.settings.set_latency(LATENCY_MAX).expect("the latency is in range");
        let disks: Vec<_> = (0..DISKS).map(|_| Disk::new()).collect();
        let files = FILES
            .iter()
            .map(|(disk, limit)| open_alone(&engine, disks[*disk].open_limited(*limit)))
            .collect();
        let processes = (0..PROCESSES).map(|pid| Traced::new(&engine, pid as i32)).collect();
        let model = RefCell::new(Model::new(BATCH_BYTES_MIN));
        Rc::new(World { engine, disks, files, processes, model, last_number: Cell::new(0) })
    }

    fn number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    /// Does the operation on the engine. Returns the outcome of each record.
    fn quick(&self, quick: &Quick) -> Vec<Outcome> {
        let settings = &self.engine.settings;
        match quick {
            Quick::Asynchronous { process, choice, records } => {
                let one = |_| {
                    let number = self.number();
                    asynchronous(*choice, number, |payload| self.enqueue(process, payload, number))
                };
                return (0..*records).map(one).collect();
            }
            Quick::TooLarge { process } => {
                let number = self.number();
                let mut data = [0xaa; SEGMENT_LEN];
                data[..8].copy_from_slice(&number.to_ne_bytes());
                return vec![self.enqueue(process, &Payload::User(&data), number)];
            }
            Quick::Set { process, file } => {
                self.processes[process.index(PROCESSES)].set(&self.files[file.index(FILES.len())]);
            }
            Quick::Clear { process } => self.processes[process.index(PROCESSES)].clear(),
            Quick::Limit { bytes } => {
                let expected = if is_limit(*bytes) { Ok(()) } else { Err(Errno(22)) };
                assert_eq!(settings.set_queue_limit(*bytes), expected);
            }
            Quick::Policy { policy } => settings.set_policy(*policy),
            Quick::Batch { bytes, records } => {
                settings.set_batch_bytes(*bytes).expect("the size is in range");
                settings.set_batch_records(*records).expect("the number is in range");
            }
            Quick::AtOnce { facilities } => settings.set_at_once(*facilities),
        }
        Vec::new()
    }

    fn enqueue(&self, process: &Index, payload: &Payload<'_>, number: u64) -> Outcome {
        let pid = process.index(PROCESSES);
        let dropped = self.engine.stats.dropped.get(payload.kind());
        let before = dropped.fetch();
        let pending = self.processes[pid].pending(payload);
        Outcome { made: made(pid, payload, number), pending, dropped: dropped.fetch() != before }
    }

    fn step(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Quick(quick) => {
                let outcomes = self.quick(quick);
                follow(&mut self.model.borrow_mut(), quick, &outcomes);
            }
            Step::Commit { process, len, encoded, during } => {
                self.commit(process.index(PROCESSES), *len, *encoded, during);
            }
            Step::Drain { process, during } => {
                let pid = process.index(PROCESSES);
                self.write(
                    during,
                    || self.processes[pid].trace().drain(MaySleep::new()),
                    |model, operation| model.drain(operation, pid),
                );
            }
            Step::Finish { process, during } => {
                let pid = process.index(PROCESSES);
                self.write(
                    during,
                    || self.processes[pid].try_finish(),
                    |model, operation| model.finish(operation, pid),
                );
            }
            Step::Help { process, during } => {
                let pid = process.index(PROCESSES);
                self.write(
                    during,
                    || self.processes[pid].trace().help(MaySleep::new()),
                    |model, operation| model.help(operation, pid),
                );
            }
            Step::Room { disk, room } => {
                let disk = disk.index(DISKS);
                let of_model = &mut self.model.borrow_mut().disks[disk];
                of_model.capacity = room.map(|room| of_model.size + room);
                self.set_faults(disk, of_model.capacity, of_model.dead);
            }
            Step::Dead { disk, dead } => {
                let disk = disk.index(DISKS);
                let of_model = &mut self.model.borrow_mut().disks[disk];
                of_model.dead = *dead;
                self.set_faults(disk, of_model.capacity, of_model.dead);
            }
        }
        self.check();
    }

    fn set_faults(&self, disk: usize, capacity: Option<usize>, dead: bool) {
        let faults = if dead { Faults::DEAD } else { Faults::NONE };
        self.disks[disk].set_faults(Faults { capacity, ..faults });
    }

    fn commit(self: &Rc<Self>, pid: usize, len: usize, encoded: bool, during: &[Quick]) {
        let number = self.number();
        let mut data = vec![0xaa; len + 8];
        data[..8].copy_from_slice(&number.to_ne_bytes());
        let payload = Payload::Genio(Genio { fd: 3, rw: 1, data: &data });
        let made = made(pid, &payload, number);
        let mut prepared = vec![0xff; HEADER_LEN + payload.len()];
        payload.encode(&mut prepared[HEADER_LEN..]).expect("there is room for the payload");
        let record = if encoded {
            Synchronous::encoded(Kind::Genio, &mut prepared)
        } else {
            Synchronous::payload(&payload)
        };
        let mut pending = Pending::Nothing;
        let process = &self.processes[pid];
        let committed = || {
            let (follows, failures) = process.trace().commit(MaySleep::new(), process.origin(), record);
            pending = follows;
            failures
        };
        let expected = self.write(during, committed, |model, operation| model.commit(operation, &made));
        assert_eq!(pending, expected);
    }

    /// Runs an operation that writes, on the engine and then on the model. `during` happens at the
    /// engine's first write.
    fn write<R>(
        self: &Rc<Self>,
        during: &[Quick],
        by_engine: impl FnOnce() -> Failures,
        by_model: impl FnOnce(&mut Model, &mut Operation<'_>) -> R,
    ) -> R {
        let outcomes = Rc::new(RefCell::new(None));
        let (world, noted, quick) = (Rc::clone(self), Rc::clone(&outcomes), during.to_vec());
        let hook = move || {
            if noted.borrow().is_none() {
                let of_each = quick.iter().map(|quick| world.quick(quick)).collect();
                *noted.borrow_mut() = Some(of_each);
            }
        };
        let failures = at(Moment::Write, hook, by_engine);
        let told = settle(&self.processes.iter().collect::<Vec<_>>(), failures);

        let outcomes: Option<Vec<Vec<Outcome>>> = outcomes.take();
        let mut model = self.model.borrow_mut();
        let was_written = Cell::new(false);
        let mut operation = Operation::new(|model| {
            was_written.set(true);
            for (quick, outcomes) in during.iter().zip(outcomes.iter().flatten()) {
                follow(model, quick, outcomes);
            }
        });
        let result = by_model(&mut model, &mut operation);
        let expected = model.settle(operation);
        assert_eq!(was_written.get(), outcomes.is_some(), "whether there was something to write");
        assert_eq!(told.iter().map(|(pid, errno)| (*pid, errno.0)).collect::<Vec<_>>(), expected);
        result
    }

    fn check(&self) {
        let (model, stats) = (self.model.borrow(), &self.engine.stats);
        for (pid, process) in self.processes.iter().enumerate() {
            assert_eq!(process.trace().queued(), model.queued(pid), "bytes queued of process {pid}");
            let file = process.trace().file();
            let of_model = model.file(pid).map(|file| &self.files[file]);
            assert_eq!(file.as_ref().map(Arc::as_ptr), of_model.map(Arc::as_ptr), "file of process {pid}");
        }
        for (disk, of_model) in self.disks.iter().zip(&model.disks) {
            assert_eq!(disk.size(), of_model.size);
        }
        for kind in Kind::ALL {
            assert_eq!(stats.records.get(kind).fetch(), *model.records.get(kind), "{kind:?} written");
            assert_eq!(stats.dropped.get(kind).fetch(), *model.dropped.get(kind), "{kind:?} dropped");
        }
        let traced = (0..PROCESSES).filter(|pid| model.file(*pid).is_some()).count();
        assert_eq!(stats.queued.fetch(), model.pending() as u64);
        assert_eq!(stats.helped.fetch(), model.helped);
        assert_eq!(self.engine.settings.queue_limit(), model.limit);
        assert_eq!(stats.queued_max(), model.queued_max as u64);
        assert_eq!(stats.procs.fetch(), traced as u64);
        assert_eq!(stats.files.fetch(), FILES.len() as u64);
        assert_eq!(stats.bytes.fetch(), self.disks.iter().map(|disk| disk.size() as u64).sum::<u64>());
        assert_eq!(stats.commits.fetch(), self.disks.iter().map(|disk| disk.appends()).sum::<u64>());
    }

    /// Ends all processes, and checks the files.
    fn end(self: &Rc<Self>) {
        for pid in 0..PROCESSES {
            self.processes[pid].clear();
            self.model.borrow_mut().set(pid, None);
            self.write(
                &[],
                || self.processes[pid].try_finish(),
                |model, operation| model.finish(operation, pid),
            );
        }
        self.check();
        let model = self.model.borrow();
        for (disk, expected) in self.disks.iter().zip(&model.disks) {
            let content = disk.content();
            let found = decode(&content);
            let expected = &expected.records;
            assert!(
                found.iter().map(found_as_made).eq(expected.iter().map(|(_, made)| made.clone())),
                "other records"
            );
            for file in 0..FILES.len() {
                let of_file = found.iter().zip(expected).filter(|(_, (of, _))| *of == file);
                assert_time_order(&of_file.map(|(record, _)| *record).collect::<Vec<_>>());
            }
        }
    }
}

/// Repeats on the model an operation of the engine. Both must have done the same.
fn follow(model: &mut Model, quick: &Quick, outcomes: &[Outcome]) {
    match quick {
        Quick::Set { process, file } => model.set(process.index(PROCESSES), Some(file.index(FILES.len()))),
        Quick::Clear { process } => model.set(process.index(PROCESSES), None),
        Quick::Limit { bytes } if is_limit(*bytes) => model.limit = *bytes,
        Quick::Policy { policy } => model.policy = *policy,
        Quick::Batch { bytes, records } => (model.batch_bytes, model.batch_records) = (*bytes, *records),
        Quick::AtOnce { facilities } => model.at_once = *facilities,
        Quick::Limit { .. } | Quick::Asynchronous { .. } | Quick::TooLarge { .. } => {}
    }
    for Outcome { made, pending, dropped } in outcomes {
        let fate = model.fate(made.pid, made.len);
        match (fate, dropped) {
            (Fate::Ignored, false) => assert_eq!(*pending, Pending::Nothing),
            (Fate::Gathered, false) => assert_eq!(*pending, model.gather(made.clone()), "{made:?}"),
            (Fate::Queued | Fate::Open, false) => {
                assert_ne!(*pending, Pending::Nothing, "{made:?}");
                model.enqueue(made.clone());
            }
            (Fate::Dropped | Fate::Open, true) => {
                assert_eq!(*pending, Pending::Help);
                model.drop_queued(made.pid, made.kind);
            }
            _ => panic!("{made:?} is {fate:?}, but {}dropped", if *dropped { "" } else { "not " }),
        }
    }
}

fn is_limit(bytes: usize) -> bool {
    (QUEUE_LIMIT_MIN..=QUEUE_LIMIT_MAX).contains(&bytes)
}

fn made(pid: usize, payload: &Payload<'_>, number: u64) -> Made {
    Made { kind: payload.kind(), number, len: Record::encoded_len(payload), pid, drop: false }
}

/// Returns the model's view of a record in a file. Checks that all fields are valid.
fn found_as_made(record: &Record<'_>) -> Made {
    let header = &record.header;
    let number = match record.payload {
        Payload::Fault(fault) => fault.vaddr,
        Payload::Csw(csw) => text_number(csw.wmesg),
        Payload::CapFail(fail) => match fail.data {
            CapData::Path(path) => text_number(path),
            other => panic!("nobody made {other:?}"),
        },
        Payload::Genio(genio) => {
            let (number, rest) = genio.data.split_first_chunk().expect("the data begins with a number");
            assert!(rest.iter().all(|byte| *byte == 0xaa));
            u64::from_ne_bytes(*number)
        }
        Payload::User(data) => {
            let (number, rest) = data.split_first_chunk().expect("the data begins with a number");
            assert!(rest.iter().all(|byte| *byte == 0xaa));
            u64::from_ne_bytes(*number)
        }
        other => panic!("nobody made {other:?}"),
    };
    let pid = usize::try_from(header.pid).expect("a pid of the test");
    assert_eq!((header.tid, header.cpu), (i64::from(header.pid) + 1000, 0));
    assert!(header.time > Timespec { sec: 1_000_000_000, nsec: 0 });
    assert!(header.comm.starts_with(b"traced\0"));
    Made { drop: header.drop, ..made(pid, &record.payload, number) }
}

fn text_number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).expect("a number in digits").parse().expect("a number")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "thousands of records")]
    fn the_engine_does_what_the_model_says(
        first in vec(any::<Index>(), PROCESSES),
        steps in vec(any_step(), 1..60),
    ) {
        let world = World::new();
        for (pid, file) in first.iter().enumerate() {
            let file = file.index(FILES.len());
            world.processes[pid].set(&world.files[file]);
            world.model.borrow_mut().set(pid, Some(file));
        }
        for step in &steps {
            world.step(step);
        }
        world.end();
    }
}
