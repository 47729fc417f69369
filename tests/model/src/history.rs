//! What happened to the processes, in the order of the clock, against what is in the files.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ktrace_engine::{Counter as _, Stats};
use ktrace_format::{CapData, Kind, Payload, PerKind, Record, Timespec};

use crate::Model;

/// What the engine did with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was queued.
    Taken,
    /// It was dropped where it was made: the queue was full.
    NoRoom,
    /// It was written by the thread that made it.
    Written,
    /// It could not be written.
    Failed,
    /// Nobody wants it.
    Ignored,
}

/// A record that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) process: usize,
    pub(crate) number: u64,
    /// When its place in the order was found, under the queue lock.
    pub(crate) time: Timespec,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Made(Made),
    /// The process is traced to another file.
    Set(Option<usize>),
}

/// What happened, in any order.
#[derive(Default)]
pub(crate) struct History(Mutex<Vec<(usize, Timespec, Event)>>);

/// Where a record is.
struct Found<'a> {
    file: usize,
    record: &'a Record<'a>,
}

impl History {
    /// A record was made.
    pub(crate) fn made(&self, made: Made) {
        self.push(made.process, made.time, Event::Made(made));
    }

    /// A process was traced to another file, or to none.
    pub(crate) fn set(&self, process: usize, time: Timespec, file: Option<usize>) {
        self.push(process, time, Event::Set(file));
    }

    fn push(&self, process: usize, time: Timespec, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((process, time, event));
    }

    /// Compares with the files, some of which have failed, and with the counters.
    pub(crate) fn check(&self, stats: &Stats<Model>, files: &[Vec<Record<'_>>], failed: &[bool]) {
        let mut found = find(files);
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        events.sort_by_key(|(process, time, _)| (*process, *time));
        let mut written = PerKind::<u64>::default();
        let mut dropped = PerKind::<u64>::default();
        for of_process in events.chunk_by(|(one, ..), (other, ..)| one == other) {
            let (mut file, mut mark) = (None, false);
            for (_, _, event) in of_process {
                match event {
                    Event::Set(new) => (file, mark) = (*new, false),
                    Event::Made(made) => {
                        let expected = Expected { file, mark, failed: file.is_some_and(|file| failed[file]) };
                        let kind = if matches!(made.fate, Fate::Written | Fate::Failed) {
                            Kind::User
                        } else {
                            Kind::CapFail
                        };
                        match check_one(*made, &expected, found.remove(&made.number)) {
                            End::Written => *written.get_mut(kind) += 1,
                            End::Dropped => *dropped.get_mut(kind) += 1,
                            End::Ignored => continue,
                        }
                        mark = made.fate == Fate::NoRoom;
                    }
                }
            }
        }
        assert!(found.is_empty(), "records in the files that nobody made");
        for kind in Kind::ALL {
            let name = kind.name();
            assert_eq!(stats.records.get(kind).fetch(), *written.get(kind), "{name} written");
            assert_eq!(stats.dropped.get(kind).fetch(), *dropped.get(kind), "{name} dropped");
        }
    }
}

/// What is known of a record from what happened before it.
struct Expected {
    file: Option<usize>,
    mark: bool,
    /// The file could not be written at some time.
    failed: bool,
}

enum End {
    Written,
    Dropped,
    Ignored,
}

fn check_one(made: Made, expected: &Expected, found: Option<Found<'_>>) -> End {
    match (made.fate, found) {
        (Fate::Taken | Fate::Written, Some(Found { file, record })) => {
            assert_eq!(Some(file), expected.file, "{made:?} is in another file");
            assert_eq!(record.header.time, made.time, "{made:?} has another time");
            assert_eq!(record.header.drop, expected.mark, "KTR_DROP of {made:?}");
            assert_eq!(usize::try_from(record.header.pid), Ok(made.process));
            End::Written
        }
        (Fate::Taken | Fate::Failed, None) => {
            assert!(expected.failed, "{made:?} is lost");
            End::Dropped
        }
        (Fate::NoRoom, None) => {
            assert!(expected.file.is_some(), "{made:?} is counted, and nothing was traced");
            End::Dropped
        }
        (Fate::Ignored, None) => {
            assert!(expected.file.is_none() || expected.failed, "{made:?} was wanted");
            End::Ignored
        }
        (Fate::Written, None) => panic!("{made:?} is lost"),
        (_, Some(_)) => panic!("{made:?} is in a file"),
    }
}

/// The records of all files by number; those of a process must be in the order of their times.
fn find<'a>(files: &'a [Vec<Record<'a>>]) -> BTreeMap<u64, Found<'a>> {
    let mut all = BTreeMap::new();
    for (file, records) in files.iter().enumerate() {
        let mut last = BTreeMap::<i32, Timespec>::new();
        for record in records {
            let header = &record.header;
            let before = last.insert(header.pid, header.time);
            assert!(
                before.is_none_or(|before| before < header.time),
                "process {} goes back in time",
                header.pid
            );
            let twice = all.insert(number(&record.payload), Found { file, record });
            assert!(twice.is_none(), "a record is in the files twice");
        }
    }
    all
}

fn number(payload: &Payload<'_>) -> u64 {
    match payload {
        Payload::CapFail(fail) => match fail.data {
            CapData::Path(path) => std::str::from_utf8(path).expect("digits").parse().expect("a number"),
            other => panic!("nobody made {other:?}"),
        },
        Payload::User(bytes) => u64::from_ne_bytes((*bytes).try_into().expect("a number")),
        other => panic!("nobody made {other:?}"),
    }
}
