//! Random sequences of operations, on the engine and on a model, must come to the same.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ktrace_engine::{
    Counter as _, Errno, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN, SEGMENT_LEN, Synchronous,
    WriteFailed,
};
use ktrace_format::{CapData, Genio, HEADER_LEN, Kind, Payload, Record, Timespec};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::{Disk, Engine, Faults, File, MaySleep, clock};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::expected::{DISKS, FILES, Fate, Made, Model, PROCESSES};
use crate::trace_file::{assert_time_order, decode};
use crate::traced::{Traced, asynchronous, open};

/// What does not sleep, and so can happen at any time.
#[derive(Clone, Debug)]
enum Quick {
    /// Some records that are made where sleeping is not allowed.
    Asynchronous {
        process: Index,
        choice: u8,
        records: usize,
    },
    /// A record that no queue can hold.
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
}

#[derive(Clone, Debug)]
enum Step {
    Quick(Quick),
    /// A synchronous record; `during` happens while the first write goes on.
    Commit {
        process: Index,
        room: usize,
        len: usize,
        encoded: bool,
        during: Vec<Quick>,
    },
    /// A return to user mode.
    Drain {
        process: Index,
        room: usize,
        during: Vec<Quick>,
    },
    /// Room is left on a disk for this much, or for ever.
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

fn any_room() -> impl Strategy<Value = usize> {
    prop_oneof![20 => Just(0), 10 => 0..20 * SEGMENT_LEN, 1 => Just(usize::MAX)]
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
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let during = || vec(any_quick(), 0..4);
    prop_oneof![
        8 => any_quick().prop_map(Step::Quick),
        4 => (any::<Index>(), any_room(), any_len(), any::<bool>(), during()).prop_map(
            |(process, room, len, encoded, during)| Step::Commit { process, room, len, encoded, during }
        ),
        3 => (any::<Index>(), any_room(), during())
            .prop_map(|(process, room, during)| Step::Drain { process, room, during }),
        1 => (any::<Index>(), prop_oneof![Just(None), (0..3000_usize).prop_map(Some)])
            .prop_map(|(disk, room)| Step::Room { disk, room }),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(disk, dead)| Step::Dead { disk, dead }),
    ]
}

/// The engine's side, and the model's.
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
        clock::make_deterministic(Duration::from_secs(1_000_000_000));
        let engine = Arc::new(Engine::new());
        let disks: Vec<_> = (0..DISKS).map(|_| Disk::new()).collect();
        let files =
            FILES.iter().map(|(disk, limit)| open(&engine, disks[*disk].open_limited(*limit))).collect();
        let processes = (0..PROCESSES).map(|pid| Traced::new(&engine, pid as i32)).collect();
        let model = RefCell::new(Model::new());
        Rc::new(World { engine, disks, files, processes, model, last_number: Cell::new(0) })
    }

    fn number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    fn quick(&self, quick: &Quick) {
        match quick {
            Quick::Asynchronous { process, choice, records } => {
                for _ in 0..*records {
                    let number = self.number();
                    asynchronous(*choice, number, |payload| self.enqueue(process, payload, number));
                }
            }
            Quick::TooLarge { process } => {
                self.enqueue(process, &Payload::User(&[0; SEGMENT_LEN]), 0);
            }
            Quick::Set { process, file } => {
                let (pid, file) = (process.index(PROCESSES), file.index(FILES.len()));
                self.processes[pid].set(&self.files[file]);
                self.model.borrow_mut().set(pid, Some(file));
            }
            Quick::Clear { process } => {
                let pid = process.index(PROCESSES);
                self.processes[pid].clear();
                self.model.borrow_mut().set(pid, None);
            }
            Quick::Limit { bytes } => {
                let valid = (QUEUE_LIMIT_MIN..=QUEUE_LIMIT_MAX).contains(bytes);
                let expected = if valid { Ok(()) } else { Err(Errno(22)) };
                assert_eq!(self.engine.set_queue_limit(*bytes), expected);
                if valid {
                    self.model.borrow_mut().limit = *bytes;
                }
                assert_eq!(self.engine.queue_limit(), self.model.borrow().limit);
            }
        }
    }

    fn enqueue(&self, process: &Index, payload: &Payload<'_>, number: u64) {
        let pid = process.index(PROCESSES);
        let mut model = self.model.borrow_mut();
        let made = made(pid, payload, number);
        let dropped = self.engine.stats.dropped.get(made.kind);
        let before = dropped.fetch();
        let wants_drain = self.processes[pid].enqueue(payload);
        let was_dropped = dropped.fetch() != before;
        let fate = model.fate(pid, made.len);
        assert_eq!(wants_drain, fate != Fate::Ignored);
        if was_dropped {
            assert!(fate == Fate::Dropped || fate == Fate::Open, "{made:?} was dropped, but is {fate:?}");
            model.drop_queued(pid, made.kind);
        } else {
            assert_ne!(fate, Fate::Dropped, "{made:?} was queued above the limit");
            model.enqueue(made);
        }
    }

    fn step(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Quick(quick) => self.quick(quick),
            Step::Commit { process, room, len, encoded, during } => {
                self.commit(process.index(PROCESSES), *room, *len, *encoded, during);
            }
            Step::Drain { process, room, during } => {
                let pid = process.index(PROCESSES);
                self.model.borrow_mut().take(pid, *room, None);
                self.write(pid, during, |process| process.trace().drain(MaySleep::new(), *room));
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
        self.disks[disk].set_faults(Faults { capacity, dead, ..Faults::default() });
    }

    fn commit(self: &Rc<Self>, pid: usize, room: usize, len: usize, encoded: bool, during: &[Quick]) {
        let number = self.number();
        let mut data = vec![0xaa; len + 8];
        data[..8].copy_from_slice(&number.to_ne_bytes());
        let payload = Payload::Genio(Genio { fd: 3, rw: 1, data: &data });
        self.model.borrow_mut().take(pid, room, Some(made(pid, &payload, number)));
        let mut prepared = vec![0xff; HEADER_LEN + payload.len()];
        payload.encode(&mut prepared[HEADER_LEN..]).expect("there is room for the payload");
        let record = if encoded {
            Synchronous::Encoded { kind: Kind::Genio, record: &mut prepared }
        } else {
            Synchronous::Payload(&payload)
        };
        self.write(pid, during, |process| {
            process.trace().commit(MaySleep::new(), room, process.origin(), record)
        });
    }

    /// Lets the engine write what the model has in flight, with `during` at the first write.
    fn write(
        self: &Rc<Self>,
        pid: usize,
        during: &[Quick],
        write: impl FnOnce(&Traced) -> Result<(), WriteFailed>,
    ) {
        let (world, mut during) = (Rc::clone(self), during.to_vec());
        let hook = move |point| {
            if point == Point::Append {
                during.drain(..).for_each(|quick| world.quick(&quick));
            }
        };
        let result = interleave::with(hook, || write(&self.processes[pid]));
        let expected = self.model.borrow_mut().write(pid);
        assert_eq!(result.err().map(|failed| failed.0.0), expected);
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
        let queued: usize = (0..PROCESSES).map(|pid| model.queued(pid)).sum();
        let traced = (0..PROCESSES).filter(|pid| model.file(*pid).is_some()).count();
        assert_eq!(stats.queued.fetch(), queued as u64);
        assert_eq!(stats.queued_max(), model.queued_max as u64);
        assert_eq!(stats.procs.fetch(), traced as u64);
        assert_eq!(stats.files.fetch(), FILES.len() as u64);
        assert_eq!(stats.bytes.fetch(), self.disks.iter().map(|disk| disk.size() as u64).sum::<u64>());
        assert_eq!(stats.commits.fetch(), self.disks.iter().map(|disk| disk.appends()).sum::<u64>());
    }

    /// All processes exit, and the files are read.
    fn end(self: &Rc<Self>) {
        for pid in 0..PROCESSES {
            self.processes[pid].clear();
            let mut model = self.model.borrow_mut();
            model.set(pid, None);
            model.take(pid, 0, None);
            let result = self.processes[pid].drain();
            assert_eq!(result.err().map(|failed| failed.0.0), model.write(pid));
        }
        self.check();
        for (disk, expected) in self.disks.iter().zip(&self.model.borrow().disks) {
            let content = disk.content();
            let found = decode(&content);
            assert_time_order(&found);
            assert!(found.iter().map(found_as_made).eq(expected.records.iter().cloned()), "other records");
        }
    }
}

fn made(pid: usize, payload: &Payload<'_>, number: u64) -> Made {
    Made { kind: payload.kind(), number, len: Record::encoded_len(payload), pid, drop: false }
}

/// What the model knows of a record that is in a file, which must be whole in all it says.
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
