//! The events of the processes in their order, compared with the files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ktrace_doubles::Double;
use ktrace_engine::{Counter as _, Stats};
use ktrace_format::{CapData, Kind, Payload, PerKind, Record, Timespec};

use crate::Tasks;

/// The engine's treatment of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The record is in a stream or in a queue.
    Taken,
    /// The record was dropped where it was made, for lack of room.
    NoRoom,
    /// The process is not traced, or the thread that made the record has written it or failed to.
    Direct,
    /// The process is not traced.
    Ignored,
}

/// A record that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) process: usize,
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    /// Its place in the order, which was decided under the queue lock, and its time.
    pub(crate) order: u64,
    pub(crate) time: Timespec,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Made(Made),
    /// The process is traced to another opening of a file, or to none.
    Set(Option<usize>),
    /// The process is not traced any more, because its file could not be written.
    Abandoned,
}

/// All events, in any order.
#[derive(Default)]
pub(crate) struct History {
    events: Mutex<Vec<(usize, u64, Event)>>,
    /// The disk of each opening.
    openings: Mutex<Vec<usize>>,
    /// The processes and disks for which a write failure was reported.
    told: Mutex<BTreeSet<(usize, usize)>>,
}

/// A record in a file.
struct Found<'a> {
    disk: usize,
    record: &'a Record<'a>,
}

impl History {
    /// Notes that a file is opened. Returns the number of the opening.
    pub(crate) fn opened(&self, disk: usize) -> usize {
        let mut openings = lock(&self.openings);
        openings.push(disk);
        openings.len() - 1
    }

    /// Notes a record that was made.
    pub(crate) fn made(&self, made: Made) {
        self.push(made.process, made.order, Event::Made(made));
    }

    /// Notes that a process is traced to another opening of a file, or to none.
    pub(crate) fn set(&self, process: usize, order: u64, opening: Option<usize>) {
        self.push(process, order, Event::Set(opening));
    }

    /// Notes that the tracing of a process has ended because its file could not be written.
    pub(crate) fn abandoned(&self, process: usize, order: u64) {
        self.push(process, order, Event::Abandoned);
    }

    /// Notes that records of a process could not be written to a disk.
    pub(crate) fn told(&self, process: usize, disk: usize) {
        lock(&self.told).insert((process, disk));
    }

    fn push(&self, process: usize, order: u64, event: Event) {
        lock(&self.events).push((process, order, event));
    }

    /// Returns the events of each process, in order.
    fn of_processes(&self) -> Vec<Vec<Event>> {
        let mut events = lock(&self.events).clone();
        events.sort_by_key(|(process, order, _)| (*process, *order));
        let of_process = |events: &[(usize, u64, Event)]| events.iter().map(|(.., event)| *event).collect();
        events.chunk_by(|(one, ..), (other, ..)| one == other).map(of_process).collect()
    }

    /// Returns the numbers of the records that a process has made so far, each with its disk. Only
    /// records that the engine has counted as pending are returned. If `of` is given, only those
    /// for that opening are.
    pub(crate) fn taken(&self, process: usize, of: Option<usize>) -> Vec<(u64, usize)> {
        let openings = lock(&self.openings).clone();
        let mut taken = Vec::new();
        for events in self.of_processes() {
            let mut opening: Option<usize> = None;
            for event in events {
                match event {
                    Event::Set(new) => opening = new,
                    Event::Abandoned => opening = None,
                    Event::Made(made) if made.process == process && made.fate == Fate::Taken => {
                        let wanted = opening.filter(|opening| of.is_none_or(|of| of == *opening));
                        taken.extend(wanted.map(|opening| (made.number, openings[opening])));
                    }
                    Event::Made(_) => {}
                }
            }
        }
        taken
    }

    /// Compares the events with the disks, some of which have failed, and with the counters.
    pub(crate) fn check(&self, stats: &Stats<Double<Tasks>>, disks: &[Vec<Record<'_>>], failed: &[bool]) {
        let (openings, told) = (lock(&self.openings).clone(), lock(&self.told).clone());
        let mut found = find(disks);
        let mut of_openings = BTreeMap::new();
        let mut written = PerKind::<u64>::default();
        let mut dropped = PerKind::<u64>::default();
        for events in self.of_processes() {
            let (mut opening, mut mark, mut lost) = (None, false, false);
            for event in events {
                let made = match event {
                    Event::Set(new) => {
                        (opening, mark, lost) = (new, false, false);
                        continue;
                    }
                    Event::Abandoned => {
                        assert!(lost, "the tracing of a process has ended, and none of its records is lost");
                        (opening, mark, lost) = (None, false, false);
                        continue;
                    }
                    Event::Made(made) => made,
                };
                let disk = opening.map(|opening: usize| openings[opening]);
                let expected = Expected { disk, mark, failed: disk.is_some_and(|disk| failed[disk]) };
                match check_one(made, &expected, found.remove(&made.number)) {
                    End::Written => {
                        *written.get_mut(made.kind) += 1;
                        of_openings.insert(made.number, opening);
                    }
                    End::Dropped => {
                        *dropped.get_mut(made.kind) += 1;
                        if made.fate != Fate::NoRoom {
                            let told = disk.is_some_and(|disk| told.contains(&(made.process, disk)));
                            assert!(told, "nobody was told that {made:?} is lost");
                            lost = true;
                        }
                    }
                    End::Ignored => continue,
                }
                mark = made.fate == Fate::NoRoom;
            }
        }
        assert!(found.is_empty(), "records in the files that nobody made");
        for kind in Kind::ALL {
            let name = kind.name();
            assert_eq!(stats.records.get(kind).fetch(), *written.get(kind), "{name} written");
            assert_eq!(stats.dropped.get(kind).fetch(), *dropped.get(kind), "{name} dropped");
        }
        check_order(disks, &of_openings, stats.queued_max() == 0);
    }
}

/// The properties of a record that follow from the events before it.
struct Expected {
    disk: Option<usize>,
    mark: bool,
    /// Whether a write to the disk has ever failed.
    failed: bool,
}

enum End {
    Written,
    Dropped,
    Ignored,
}

fn check_one(made: Made, expected: &Expected, found: Option<Found<'_>>) -> End {
    match (made.fate, found) {
        (Fate::Taken | Fate::Direct, Some(Found { disk, record })) => {
            assert_eq!(Some(disk), expected.disk, "{made:?} is in another file");
            assert_eq!(record.header.time, made.time, "{made:?} has another time");
            assert_eq!(record.header.drop, expected.mark, "KTR_DROP of {made:?}");
            assert_eq!(usize::try_from(record.header.pid), Ok(made.process));
            End::Written
        }
        (Fate::NoRoom, None) => {
            assert!(expected.disk.is_some(), "{made:?} is counted, and nothing was traced");
            End::Dropped
        }
        (Fate::Ignored | Fate::Direct, None) if expected.disk.is_none() => End::Ignored,
        (Fate::Ignored, None) => panic!("{made:?} was wanted"),
        (Fate::Taken | Fate::Direct, None) => {
            assert!(expected.failed, "{made:?} is lost");
            End::Dropped
        }
        (_, Some(_)) => panic!("{made:?} is in a file"),
    }
}

/// Returns the records of all files by number.
fn find<'a>(disks: &'a [Vec<Record<'a>>]) -> BTreeMap<u64, Found<'a>> {
    let mut all = BTreeMap::new();
    for (disk, records) in disks.iter().enumerate() {
        for record in records {
            let twice = all.insert(number(&record.payload), Found { disk, record });
            assert!(twice.is_none(), "a record is in the files twice");
        }
    }
    all
}

/// Checks that the records of each process are in each file in the order of their times. If there
/// was always room in the streams, the records of all processes must be, too.
fn check_order(disks: &[Vec<Record<'_>>], openings: &BTreeMap<u64, Option<usize>>, always_room: bool) {
    let mut of_processes = BTreeMap::new();
    let mut of_all = BTreeMap::new();
    for record in disks.iter().flatten() {
        let (header, opening) = (&record.header, openings.get(&number(&record.payload)));
        let before = of_processes.insert((header.pid, opening), header.time);
        assert!(before.is_none_or(|before| before < header.time), "process {} goes back in time", header.pid);
        let before = of_all.insert(opening, header.time);
        assert!(!always_room || before.is_none_or(|before| before < header.time), "a file goes back in time");
    }
}

/// Returns the numbers of the records in a file.
pub(crate) fn numbers(records: &[Record<'_>]) -> BTreeSet<u64> {
    records.iter().map(|record| number(&record.payload)).collect()
}

fn number(payload: &Payload<'_>) -> u64 {
    match payload {
        Payload::CapFail(fail) => match fail.data {
            CapData::Path(path) => std::str::from_utf8(path).expect("digits").parse().expect("a number"),
            other => panic!("nobody made {other:?}"),
        },
        Payload::User(bytes) => u64::from_ne_bytes(*bytes.first_chunk().expect("a number")),
        other => panic!("nobody made {other:?}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
