//! The check of a trace from its start to its end.
//!
//! Some traces look incomplete and are not:
//!
//! - A thread's first record in a system call is a RET. The thread is new, or its tracing began
//!   inside a call.
//! - A thread's last CALL has no RET. The thread or its process ended or was killed, or its tracing
//!   ended.
//! - Either case occurs in the middle of a trace, where `ktrace -c` ended tracing and another
//!   ktrace(1) began it again. Kernels mark such a place with a `KTR_PROCCTOR`, which they write
//!   when tracing begins or changes.
//!
//! After a drop mark or damaged bytes, system calls that began earlier are not checked. Missing
//! records are thus reported once.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use ktrace_format::{Csw, Kind, MAXCOMLEN, Payload, PerKind, Timespec};

use crate::head::Head;
use crate::reader::{Item, Reader};
use crate::threads::{Edge, MAX_THREADS, Threads};
use crate::{Class, Finding, Source, What};

/// Scope in which records must be in timestamp order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The whole trace, and so each thread, except for records that the kernel backdates.
    #[default]
    File,
    /// Each thread on its own.
    Thread,
}

/// State kept for a process, or for several processes that used one id in succession.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Last name of the process, with a terminating NUL.
    pub comm: [u8; MAXCOMLEN + 1],
    /// Number of records of each type.
    pub records: PerKind<u64>,
    /// Number of records of unknown types.
    pub unknown: u64,
    /// Number of records marked `KTR_DROP`.
    pub drops: u64,
    threads: Threads,
    /// Number of times that tracing began or records were dropped.
    gaps: u64,
}

/// Summary of the contents of a trace.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Processes by id.
    pub processes: BTreeMap<i32, Process>,
    /// Number of records marked `KTR_DROP`, for each type.
    pub drops: PerKind<u64>,
    /// Number of records, unknown types included.
    pub records: u64,
    /// Number of threads that were followed.
    pub threads: u64,
    /// Number of records of threads that were not followed, because [`MAX_THREADS`] already were.
    pub not_followed: u64,
    /// Number of findings of each class.
    pub found: BTreeMap<Class, u64>,
}

impl Summary {
    /// Returns whether the trace has no findings.
    pub fn is_whole(&self) -> bool {
        self.found.is_empty()
    }
}

/// A check in progress.
pub struct Check<'a, S: ?Sized> {
    reader: Reader<'a, S>,
    state: State,
}

impl<'a, S: Source + ?Sized> Check<'a, S> {
    /// Starts a check. `progress` is called repeatedly with the number of bytes read.
    pub fn new(source: &'a S, order: Order, progress: &'a dyn Fn(u64)) -> Self {
        let mut state = State { order, ..State::default() };
        if source.size() == 0 {
            state.find(0, None, What::Empty);
        }
        Check { reader: Reader::new(source, progress), state }
    }

    /// Returns the next finding, or `None` at the end of the trace.
    ///
    /// An error is a failed read.
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

    /// Returns the summary of the part of the trace that was read.
    pub fn finish(self) -> Summary {
        self.state.summary
    }
}

/// State of a check up to the current position in the trace.
#[derive(Default)]
struct State {
    summary: Summary,
    order: Order,
    /// Time of the last record that the kernel did not backdate.
    last: Timespec,
    /// Number of threads followed now.
    followed: usize,
    /// Number of damaged places so far.
    gaps: u64,
    /// Findings not reported yet, at most those of a single record.
    findings: VecDeque<Finding>,
}

/// Returns whether a kernel may have backdated this record.
///
/// FreeBSD 15.1 makes both records of a sleep after the sleep has ended (`ktrcsw_out()` in
/// sys/ktrace.h).
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

    /// Counts a record of a process and follows its thread.
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
            // Both numbers only grow, so equal sums mean that neither has changed.
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
