//! One trace of the engine, without a process around it.

use std::cell::RefCell;
use std::mem::forget;
use std::sync::Arc;
use std::thread::panicking;

use ktrace_engine::{Abandoned, BATCH_BYTES_MIN, Errno, Origin, Pending, Policy, Synchronous, WriteFailed};
use ktrace_format::{CapData, CapFail, Csw, Fault, Payload, Timespec};
use ktrace_sim::{Engine, Failures, File, MaySleep, OpenFile, Trace, context};

/// A trace, and the numbers of the process that it would belong to.
pub(crate) struct Traced {
    trace: Arc<Trace>,
    origin: Origin,
    /// Files that it left, which are still to be flushed.
    left: RefCell<Vec<Arc<File>>>,
}

impl Traced {
    pub(crate) fn new(engine: &Arc<Engine>, pid: i32) -> Self {
        let origin = Origin { pid, tid: i64::from(pid) + 1000, comm: *b"traced\0\0\0\0\0\0\0\0\0\0\0\0\0\0" };
        let trace = Arc::new(Trace::new(Arc::clone(engine), MaySleep::new()));
        Traced { trace, origin, left: RefCell::default() }
    }

    /// As [`Traced::new`], and traced to a new file.
    pub(crate) fn to(engine: &Arc<Engine>, pid: i32, file: OpenFile) -> Self {
        let traced = Traced::new(engine, pid);
        traced.set(&open(engine, file));
        traced
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn pid(&self) -> i32 {
        self.origin.pid
    }

    /// Traces to another file; the old one is to be [flushed](Traced::finish).
    pub(crate) fn set(&self, file: &Arc<File>) {
        self.left.borrow_mut().extend(self.trace.set_file(Some(Arc::clone(file))));
    }

    /// Ends tracing; the file is to be [flushed](Traced::finish).
    pub(crate) fn clear(&self) {
        self.left.borrow_mut().extend(self.trace.set_file(None));
    }

    /// What whoever has set another file does at last: flushes those before it.
    pub(crate) fn finish(&self) -> Result<(), Errno> {
        self.settle(self.try_finish())
    }

    /// As [`Traced::finish`], and leaves it to the caller what failed.
    pub(crate) fn try_finish(&self) -> Failures {
        let left = self.left.take();
        left.iter().flat_map(|file| self.trace.flush(MaySleep::new(), 0, file)).collect()
    }

    /// Makes a record of 80 bytes with a number where sleeping is not allowed; true if something is to
    /// follow.
    pub(crate) fn fault(&self, number: u64) -> bool {
        self.pending_fault(number) != Pending::Nothing
    }

    /// Makes faults until one has no room in the stream, and is queued; returns how many.
    pub(crate) fn fill_stream(&self) -> u64 {
        assert_eq!(self.trace.queued(), 0);
        let mut faults = 0;
        while self.trace.queued() == 0 {
            self.fault(faults);
            faults += 1;
        }
        faults
    }

    /// As [`Traced::fault`], and returns what is to follow.
    pub(crate) fn pending_fault(&self, number: u64) -> Pending {
        self.pending(&Payload::Fault(Fault { vaddr: number, fault_type: 1 }))
    }

    pub(crate) fn enqueue(&self, payload: &Payload<'_>) -> bool {
        self.pending(payload) != Pending::Nothing
    }

    /// Makes a record where sleeping is not allowed; what is to follow.
    pub(crate) fn pending(&self, payload: &Payload<'_>) -> Pending {
        self.pending_noted(None, payload)
    }

    /// Makes a record as [`Traced::pending`], for which the kernel has noted a time.
    pub(crate) fn pending_noted(&self, noted: Option<Timespec>, payload: &Payload<'_>) -> Pending {
        context::sleepless(|| self.trace.enqueue(&self.origin, noted, payload))
    }

    pub(crate) fn commit(&self, payload: &Payload<'_>) -> Result<(), Errno> {
        self.settle(self.try_commit(payload).1)
    }

    /// As [`Traced::commit`], and returns what is to follow, and leaves it to the caller what
    /// failed.
    pub(crate) fn try_commit(&self, payload: &Payload<'_>) -> (Pending, Failures) {
        self.trace.commit(MaySleep::new(), 0, &self.origin, Synchronous::payload(payload))
    }

    pub(crate) fn drain(&self) -> Result<(), Errno> {
        self.settle(self.try_drain())
    }

    /// As [`Traced::drain`], and leaves it to the caller what failed.
    pub(crate) fn try_drain(&self) -> Failures {
        self.trace.drain(MaySleep::new(), 0)
    }

    /// Another thread writes what is pending.
    pub(crate) fn help(&self) -> Result<(), Errno> {
        self.settle(self.trace.help(MaySleep::new(), 0))
    }

    /// Ends the tracing to files that could not be written; no other process traces to them. What its
    /// user is told.
    pub(crate) fn settle(&self, failures: Failures) -> Result<(), Errno> {
        match settle(&[self], failures)[..] {
            [] => Ok(()),
            [(_, errno)] => Err(errno),
            _ => panic!("more than one file has failed"),
        }
    }
}

impl Drop for Traced {
    /// The process exits.
    fn drop(&mut self) {
        self.clear();
        if panicking() {
            // The failure is what is to be seen, not what it left behind.
            forget((self.left.take(), Arc::clone(&self.trace)));
            return;
        }
        // A file may be broken on purpose.
        let _ = (self.try_finish(), self.try_drain());
    }
}

/// Ends the tracing of those of the processes whose records could not be written. Returns the pids
/// and errnos that are told.
pub(crate) fn settle(processes: &[&Traced], failures: Failures) -> Vec<(i32, Errno)> {
    let mut told = Vec::new();
    for failed in failures {
        let WriteFailed { pid, errno, .. } = failed;
        let process = processes.iter().find(|process| process.pid() == pid).expect("a process of the test");
        if context::sleepless(|| process.trace.abandon(&failed)) != Abandoned::Before {
            told.push((pid, errno));
        }
    }
    told
}

/// An engine that writes records as the stock backend does: each at once, where sleeping is
/// allowed.
pub(crate) fn engine_of_records() -> Arc<Engine> {
    let engine = Arc::new(Engine::new());
    engine.settings.set_policy(Policy::Record);
    engine
}

/// An engine whose streams are soon full, and its queues in use.
pub(crate) fn engine_of_queues() -> Arc<Engine> {
    let engine = Arc::new(Engine::new());
    engine.settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
    engine
}

pub(crate) fn open(engine: &Arc<Engine>, file: OpenFile) -> Arc<File> {
    Arc::new(File::new(MaySleep::new(), Arc::clone(engine), file))
}

/// A record of one of the types that are made where sleeping is not allowed. The bytes of
/// `number` are in it.
pub(crate) fn asynchronous<R>(choice: u8, number: u64, make: impl FnOnce(&Payload<'_>) -> R) -> R {
    let text = format!("{number:07}");
    match choice % 3 {
        0 => make(&Payload::Fault(Fault { vaddr: number, fault_type: 1 })),
        1 => make(&Payload::Csw(Csw { out: true, user: false, wmesg: text.as_bytes() })),
        _ => make(&Payload::CapFail(CapFail {
            cap_type: 6,
            code: 5,
            svflags: 0,
            data: CapData::Path(text.as_bytes()),
        })),
    }
}
