//! Follows a trace from its start to its end.
//!
//! What is right although it looks as if something were missing:
//!
//! - a thread's first record in a system call is a RET: it is new, or its tracing began inside a call;
//! - a thread's last CALL has no RET: it or its process ended, was killed, or its tracing ended;
//! - either in the middle, where `ktrace -c` ended tracing and another ktrace(1) began it again: there is a
//!   `KTR_PROCCTOR`, which kernels write when tracing begins or changes.
//!
//! Behind a drop mark, and behind damaged bytes, nothing is expected of system calls that began before:
//! what is missing is reported once.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use ktrace_format::{Csw, Kind, MAXCOMLEN, Payload, PerKind, Timespec};

use crate::head::Head;
use crate::reader::{Item, Reader};
use crate::threads::{Edge, MAX_THREADS, Threads};
use crate::{Class, Finding, Source, What};

/// Which records have to be in the order in which they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All of the trace, and so those of each thread; but for those that the kernel dates back.
    #[default]
    File,
    /// Those of each thread.
    Thread,
}

/// What is remembered of a process, or of several that had its id one after the other.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its last name, ended by a NUL.
    pub comm: [u8; MAXCOMLEN + 1],
    /// Records by type.
    pub records: PerKind<u64>,
    /// Records of types that are not known.
    pub unknown: u64,
    /// Records that are marked `KTR_DROP`.
    pub drops: u64,
    threads: Threads,
    /// Times that tracing began, or records were dropped.
    gaps: u64,
}

/// What a trace holds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Processes by id.
    pub processes: BTreeMap<i32, Process>,
    /// Records that are marked `KTR_DROP`, by type.
    pub drops: PerKind<u64>,
    /// Records, of unknown types too.
    pub records: u64,
    /// Threads that were followed.
    pub threads: u64,
    /// Records of threads that were not followed because there were [`MAX_THREADS`] already.
    pub not_followed: u64,
    /// How much was found of what.
    pub found: BTreeMap<Class, u64>,
}

impl Summary {
    /// Whether nothing was found.
    pub fn is_whole(&self) -> bool {
        self.found.is_empty()
    }
}

/// A trace that is being checked.
pub struct Check<'a, S: ?Sized> {
    reader: Reader<'a, S>,
    state: State,
}

impl<'a, S: Source + ?Sized> Check<'a, S> {
    /// Starts; `progress` is told again and again how many bytes are read.
    pub fn new(source: &'a S, order: Order, progress: &'a dyn Fn(u64)) -> Self {
        let mut state = State { order, ..State::default() };
        if source.size() == 0 {
            state.find(0, None, What::Empty);
        }
        Check { reader: Reader::new(source, progress), state }
    }

    /// Reads on to the next thing that is wrong; `None` at the end. An error is one of reading.
    pub fn next_finding(&mut self) -> io::Result<Option<Finding>> {
        loop {
            if let Some(finding) = self.state.findings.pop_front() {
                return Ok(Some(finding));
            }
            match self.reader.next()? {
                Some((offset, item)) => self.state.take(offset, &item),
                None => return Ok(None),
            }
        }
    }

    /// What the trace holds, as far as it was read.
    pub fn finish(self) -> Summary {
        self.state.summary
    }
}

/// What is known of a trace up to where it was read.
#[derive(Default)]
struct State {
    summary: Summary,
    order: Order,
    /// When the last record was made that the kernel has not dated back.
    last: Timespec,
    /// Threads that are followed now.
    followed: usize,
    /// Damaged places.
    gaps: u64,
    /// Not told yet: no more than one record can have.
    findings: VecDeque<Finding>,
}

/// Returns whether a kernel may have made this record late, with the time of before: FreeBSD 15.1 makes
/// both records of a sleep when that is over (`ktrcsw_out()` of sys/ktrace.h).
fn is_dated_back(payload: Option<Payload<'_>>) -> bool {
    matches!(payload, Some(Payload::Csw(Csw { out: true, user: false, .. })))
}

impl State {
    fn find(&mut self, offset: u64, thread: Option<(i32, i64)>, what: What) {
        *self.summary.found.entry(what.class()).or_default() += 1;
        self.findings.push_back(Finding { offset, thread, what });
    }

    fn take(&mut self, offset: u64, item: &Item<'_>) {
        let what = match *item {
            Item::Record(head, payload) => return self.record(offset, &head, payload),
            Item::OtherByteOrder => What::OtherByteOrder,
            Item::CutOff => What::CutOff,
            Item::Damage { next, why } => What::NotARecord { next, why },
        };
        self.gaps += 1;
        self.find(offset, None, what);
    }

    fn record(&mut self, offset: u64, head: &Head, payload: &[u8]) {
        let header = &head.header;
        let thread = Some((header.pid, header.tid));
        let payload =
            head.kind.filter(|_| !head.is_of_old_layout()).map(|kind| (kind, Payload::decode(kind, payload)));
        if header.drop {
            self.find(offset, thread, What::Drop);
        }
        match (head.kind, payload) {
            (None, _) => self.find(offset, thread, What::Type(header.ktr_type)),
            (_, Some((kind, None))) => {
                self.gaps += 1;
                self.find(offset, thread, What::Payload(kind));
            }
            _ => {}
        }
        if header.time >= self.last {
            self.last = header.time;
        } else if !payload.is_some_and(|(_, payload)| is_dated_back(payload)) {
            self.last = header.time;
            if self.order == Order::File {
                self.find(offset, thread, What::OlderInFile);
            }
        }
        for what in self.follow(head, payload.and_then(|(_, payload)| payload)).into_iter().flatten() {
            self.find(offset, thread, what);
        }
    }

    /// Counts a record of a process, and follows its thread.
    fn follow(&mut self, head: &Head, payload: Option<Payload<'_>>) -> [Option<What>; 2] {
        let header = &head.header;
        let process = self.summary.processes.entry(header.pid).or_default();
        process.comm = header.comm;
        self.summary.records += 1;
        match head.kind {
            Some(kind) => *process.records.get_mut(kind) += 1,
            None => process.unknown += 1,
        }
        if header.drop {
            process.drops += 1;
            if let Some(kind) = head.kind {
                *self.summary.drops.get_mut(kind) += 1;
            }
        }
        if header.drop || head.kind == Some(Kind::ProcCtor) {
            process.gaps += 1;
        }
        let known = process.threads.has(header.tid);
        let wrong = if known || self.followed < MAX_THREADS {
            if !known {
                self.followed += 1;
                self.summary.threads += 1;
            }
            let edge = match payload {
                Some(Payload::Syscall(call)) => Some(Edge::Call(call.code)),
                Some(Payload::Sysret(ret)) => Some(Edge::Ret(ret.code)),
                _ => None,
            };
            // Either number only grows: the sum is the same where both are.
            let gap = self.gaps + process.gaps;
            process.threads.follow(header.tid, header.time, gap, edge)
        } else {
            self.summary.not_followed += 1;
            [None, None]
        };
        if head.kind == Some(Kind::ProcDtor) {
            self.followed -= process.threads.clear();
        }
        wrong
    }
}
