//! One trace of the engine, without a process around it.

use std::sync::Arc;

use ktrace_engine::{Origin, Pending, Synchronous, WriteFailed};
use ktrace_format::{CapData, CapFail, Csw, Fault, Payload};
use ktrace_sim::{Engine, File, MaySleep, OpenFile, Trace, context};

/// A trace, and the numbers of the process that it would belong to.
pub(crate) struct Traced {
    trace: Trace,
    origin: Origin,
}

impl Traced {
    pub(crate) fn new(engine: &Arc<Engine>, pid: i32) -> Self {
        let origin = Origin { pid, tid: i64::from(pid) + 1000, comm: *b"traced\0\0\0\0\0\0\0\0\0\0\0\0\0\0" };
        Traced { trace: Trace::new(Arc::clone(engine), MaySleep::new()), origin }
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

    pub(crate) fn set(&self, file: &Arc<File>) {
        drop(self.trace.set_file(Some(Arc::clone(file))));
    }

    pub(crate) fn clear(&self) {
        drop(self.trace.set_file(None));
    }

    /// Queues a record of 80 bytes with a number; true if it is to be drained.
    pub(crate) fn fault(&self, number: u64) -> bool {
        self.pending_fault(number) != Pending::Nothing
    }

    /// As [`Traced::fault`], and returns what is to follow.
    pub(crate) fn pending_fault(&self, number: u64) -> Pending {
        self.pending(&Payload::Fault(Fault { vaddr: number, fault_type: 1 }))
    }

    pub(crate) fn enqueue(&self, payload: &Payload<'_>) -> bool {
        self.pending(payload) != Pending::Nothing
    }

    fn pending(&self, payload: &Payload<'_>) -> Pending {
        context::sleepless(|| self.trace.enqueue(&self.origin, payload))
    }

    pub(crate) fn commit(&self, payload: &Payload<'_>) -> Result<(), WriteFailed> {
        self.trace.commit(MaySleep::new(), 0, &self.origin, Synchronous::Payload(payload))
    }

    pub(crate) fn drain(&self) -> Result<(), WriteFailed> {
        self.trace.drain(MaySleep::new(), 0)
    }

    /// Another thread writes what is queued.
    pub(crate) fn help(&self) -> Result<(), WriteFailed> {
        self.trace.help(MaySleep::new(), 0)
    }
}

impl Drop for Traced {
    /// The process exits.
    fn drop(&mut self) {
        self.clear();
        // A file may be broken on purpose.
        let _ = self.drain();
    }
}

pub(crate) fn open(engine: &Arc<Engine>, file: OpenFile) -> Arc<File> {
    Arc::new(File::new(Arc::clone(engine), file))
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
