//! A trace of the engine, without a process around it.

use std::cell::RefCell;
use std::mem::forget;
use std::sync::Arc;
use std::thread::{self, panicking};

use ktrace_doubles::MaySleep;
use ktrace_doubles::thread::sleepless;
use ktrace_engine::{Abandoned, BATCH_BYTES_MIN, Errno, Origin, Pending, Policy, Synchronous, WriteFailed};
use ktrace_format::{CapData, CapFail, Csw, Fault, Payload, Timespec};

use crate::host::{Engine, Failures, File, OpenFile, Trace};

/// A trace, and the IDs of the process that it would belong to.
pub(crate) struct Traced {
    trace: Arc<Trace>,
    origin: Origin,
    /// The files that it has left, not flushed yet.
    left: RefCell<Vec<Arc<File>>>,
}

impl Traced {
    pub(crate) fn new(engine: &Arc<Engine>, pid: i32) -> Self {
        let origin = Origin { pid, tid: i64::from(pid) + 1000, comm: *b"traced\0\0\0\0\0\0\0\0\0\0\0\0\0\0" };
        let trace = Trace::new(Arc::clone(engine), MaySleep::new());
        Traced { trace, origin, left: RefCell::default() }
    }

    /// Creates a trace as [`Traced::new`] does, traced to a new file.
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

    /// Traces to another file. The old one must be [flushed](Traced::finish).
    pub(crate) fn set(&self, file: &Arc<File>) {
        self.trace.stock(MaySleep::new(), file);
        self.left.borrow_mut().extend(self.trace.set_file(Some(Arc::clone(file))));
    }

    /// Ends tracing. The file must be [flushed](Traced::finish).
    pub(crate) fn clear(&self) {
        self.left.borrow_mut().extend(self.trace.set_file(None));
    }

    /// Flushes the files that it has left, as a thread does after it has set another file.
    pub(crate) fn finish(&self) -> Result<(), Errno> {
        self.settle(self.try_finish())
    }

    /// Flushes as [`Traced::finish`] does, and returns the failures.
    pub(crate) fn try_finish(&self) -> Failures {
        let left = self.left.take();
        left.iter().flat_map(|file| self.trace.flush(MaySleep::new(), file)).collect()
    }

    /// Makes a record of 80 bytes with a number, where sleeping is not allowed. Returns whether a
    /// drain or help must follow.
    pub(crate) fn fault(&self, number: u64) -> bool {
        self.pending_fault(number) != Pending::Nothing
    }

    /// Makes faults until one finds the stream full, and is queued. Returns the number of faults.
    pub(crate) fn fill_stream(&self) -> u64 {
        assert_eq!(self.trace.queued(), 0);
        let mut faults = 0;
        while self.trace.queued() == 0 {
            self.fault(faults);
            faults += 1;
        }
        faults
    }

    /// Makes a record as [`Traced::fault`] does. Returns what must follow.
    pub(crate) fn pending_fault(&self, number: u64) -> Pending {
        self.pending(&Payload::Fault(Fault { vaddr: number, fault_type: 1 }))
    }

    pub(crate) fn enqueue(&self, payload: &Payload<'_>) -> bool {
        self.pending(payload) != Pending::Nothing
    }

    /// Makes a record where sleeping is not allowed. Returns what must follow.
    pub(crate) fn pending(&self, payload: &Payload<'_>) -> Pending {
        self.pending_noted(None, payload)
    }

    /// Makes a record as [`Traced::pending`] does, with a time that the kernel has noted.
    pub(crate) fn pending_noted(&self, noted: Option<Timespec>, payload: &Payload<'_>) -> Pending {
        sleepless(|| self.trace.enqueue(&self.origin, noted, payload))
    }

    pub(crate) fn commit(&self, payload: &Payload<'_>) -> Result<(), Errno> {
        self.settle(self.try_commit(payload).1)
    }

    /// Commits as [`Traced::commit`] does. Returns what must follow, and the failures.
    pub(crate) fn try_commit(&self, payload: &Payload<'_>) -> (Pending, Failures) {
        self.trace.commit(MaySleep::new(), &self.origin, Synchronous::payload(payload))
    }

    pub(crate) fn drain(&self) -> Result<(), Errno> {
        self.settle(self.try_drain())
    }

    /// Drains as [`Traced::drain`] does, and returns the failures.
    pub(crate) fn try_drain(&self) -> Failures {
        self.trace.drain(MaySleep::new())
    }

    /// Writes the pending records, as another thread would.
    pub(crate) fn help(&self) -> Result<(), Errno> {
        self.settle(self.trace.help(MaySleep::new()))
    }

    /// Ends the tracing to files that could not be written. No other process traces to them.
    /// Returns the error that the user is told.
    pub(crate) fn settle(&self, failures: Failures) -> Result<(), Errno> {
        match settle(&[self], failures)[..] {
            [] => Ok(()),
            [(_, errno)] => Err(errno),
            _ => panic!("more than one file has failed"),
        }
    }
}

impl Drop for Traced {
    /// Ends the trace, as a process's exit does.
    fn drop(&mut self) {
        self.clear();
        if panicking() {
            // Checks of the state left behind would hide the failure.
            forget((self.left.take(), Arc::clone(&self.trace)));
            return;
        }
        // A test may have broken the file on purpose.
        let _ = (self.try_finish(), self.try_drain());
    }
}

/// Ends the tracing of processes whose records could not be written. Returns the reported PIDs and
/// errnos.
pub(crate) fn settle(processes: &[&Traced], failures: Failures) -> Vec<(i32, Errno)> {
    let mut told = Vec::new();
    for failed in failures {
        let WriteFailed { pid, errno, .. } = failed;
        let process = processes.iter().find(|process| process.pid() == pid).expect("a process of the test");
        if sleepless(|| process.trace.abandon(&failed)) != Abandoned::Before {
            told.push((pid, errno));
        }
    }
    told
}

/// Creates an engine that writes records as the stock backend does: each at once, where sleeping is
/// allowed.
pub(crate) fn engine_of_records() -> Arc<Engine> {
    let engine = Arc::new(Engine::new());
    engine.settings.set_policy(Policy::Record);
    engine
}

/// Creates an engine whose streams fill up soon, so that its queues are used.
pub(crate) fn engine_of_queues() -> Arc<Engine> {
    let engine = Arc::new(Engine::new());
    engine.settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
    engine
}

/// Runs `work` in another thread.
pub(crate) fn in_another_thread(work: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(work).join().expect("the thread ends"));
}

/// Opens a file for tracing, as ktrace(2) does.
pub(crate) fn open(engine: &Arc<Engine>, file: OpenFile) -> Arc<File> {
    open_alone(engine, file).shared(MaySleep::new())
}

/// Opens a file for tracing, even if it is open already.
pub(crate) fn open_alone(engine: &Arc<Engine>, file: OpenFile) -> Arc<File> {
    File::new(MaySleep::new(), Arc::clone(engine), file)
}

/// Calls `make` with a record of one of the types that are made where sleeping is not allowed. The
/// record contains `number`.
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
