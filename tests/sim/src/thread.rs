//! Simulated threads and their trace points.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ktrace_engine::{Origin, Pending, Synchronous};
use ktrace_format::{
    CapData, CapFail, Csw, Exterr, Fault, FaultEnd, Genio, HEADER_LEN, Kind, Payload, Psig, Struct,
    StructArray, Syscall, Sysret,
};

use crate::process::{Process, ThreadState};
use crate::system::KTRFAC_INHERIT;
use crate::{Inherit, MaySleep, Trace, context, set_cpu};

/// The number of CPUs of the simulated system.
const CPUS: i64 = 2;

/// A thread of a simulated process, to be run by one thread of the host.
///
/// Its methods are the events that can happen to a thread in the kernel. Methods that may sleep
/// drain pending records themselves. The others leave that to the return to user mode.
pub struct Thread {
    process: Arc<Process>,
    state: Arc<ThreadState>,
    /// The thread's `TDP_INKTRACE`.
    in_ktrace: Cell<bool>,
}

/// A guard: the thread is inside the tracer, and makes no records.
struct InKtrace<'a>(&'a Thread);

impl Drop for InKtrace<'_> {
    fn drop(&mut self) {
        self.0.in_ktrace.set(false);
    }
}

impl Thread {
    pub(crate) fn first(process: &Arc<Process>) -> Self {
        let tid = i64::from(process.system().next_id());
        let state = Arc::new(ThreadState { tid, drain_wanted: AtomicBool::new(false) });
        process.add_thread(Arc::clone(&state));
        Thread { process: Arc::clone(process), state, in_ktrace: Cell::new(false) }
    }

    /// Creates another thread of the same process.
    pub fn spawn(&self) -> Thread {
        Thread::first(&self.process)
    }

    /// Returns its process.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Returns the thread ID.
    pub fn tid(&self) -> i64 {
        self.state.tid
    }

    /// Makes a system call: entry, `body`, return, and the return to user mode. `body` returns a
    /// value or an errno.
    pub fn syscall(&self, code: i16, args: &[u64], body: impl FnOnce(&Thread) -> Result<u64, i32>) {
        self.synchronous(&Payload::Syscall(Syscall { code, args: args.into() }));
        let (error, retval) = match body(self) {
            Ok(retval) => (0, retval),
            Err(errno) => (errno, 0),
        };
        self.synchronous(&Payload::Sysret(Sysret { code, error, retval }));
        self.return_to_user();
    }

    /// Records the lookup of a path.
    pub fn namei(&self, path: &str) {
        self.synchronous(&Payload::Namei(path.as_bytes()));
    }

    /// Records a sysctl(3).
    pub fn sysctl(&self, name: &str) {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        self.synchronous(&Payload::Sysctl(&name));
    }

    /// Records a read (`UIO_READ`, 0) or write (1) of data.
    pub fn genio(&self, fd: i32, rw: u32, data: &[u8]) {
        self.prepared(&Payload::Genio(Genio { fd, rw, data }));
    }

    /// Records a structure that is passed through a system call.
    pub fn structure(&self, name: &str, data: &[u8]) {
        self.synchronous(&Payload::Struct(Struct { name: name.as_bytes(), data }));
    }

    /// Records an array of structures that is passed through a system call.
    pub fn struct_array(&self, name: &str, struct_size: u64, data: &[u8]) {
        self.prepared(&Payload::StructArray(StructArray { struct_size, name: name.as_bytes(), data }));
    }

    /// Records the arguments and the environment of an execve(2), as FreeBSD 15 does. Each string
    /// ends with a NUL.
    pub fn exec_strings(&self, args: &[u8], envs: &[u8]) {
        self.synchronous(&Payload::Args(args));
        self.synchronous(&Payload::Envs(envs));
    }

    /// Records an extended error, as FreeBSD 15 does. May not sleep.
    pub fn extended_error(&self, error: u32, msg: &str) {
        let (ver, cat, src_line, flags, p) = (0x1001_0002, 1, 487, 0, [0, 0]);
        let msg = msg.as_bytes();
        self.asynchronous(&Payload::Exterr(Exterr { ver, error, cat, src_line, flags, p, msg }));
    }

    /// Records a utrace(2).
    pub fn utrace(&self, data: &[u8]) {
        self.prepared(&Payload::User(data));
    }

    /// Records that the thread is switched out, or runs again. May not sleep.
    pub fn context_switch(&self, out: bool, user: bool, wmesg: &str) {
        self.asynchronous(&Payload::Csw(Csw { out, user, wmesg: wmesg.as_bytes() }));
    }

    /// Records a page fault. May not sleep.
    pub fn fault(&self, vaddr: u64, fault_type: i32) {
        self.asynchronous(&Payload::Fault(Fault { vaddr, fault_type }));
    }

    /// Records the end of a page fault. May not sleep.
    pub fn fault_end(&self, result: i32) {
        self.asynchronous(&Payload::FaultEnd(FaultEnd { result }));
    }

    /// Records the delivery of a signal. May not sleep.
    pub fn signal(&self, signo: i32, action: u64) {
        self.asynchronous(&Payload::Psig(Psig { signo, action, code: 0x1_0001, mask: [0; 4] }));
    }

    /// Records a path lookup that capsicum(4) forbids. May not sleep.
    pub fn cap_fail_namei(&self, code: i16, path: &str) {
        let data = CapData::Path(path.as_bytes());
        self.asynchronous(&Payload::CapFail(CapFail { cap_type: 6, code, svflags: 0, data }));
    }

    /// Calls fork(2), and returns the first thread of the child. The child is traced if the
    /// parent's trace is inherited.
    pub fn fork(&self) -> Thread {
        let parent = &self.process;
        let comm = parent.comm();
        let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        let thread = Thread::first(&Process::new(parent.system(), &String::from_utf8_lossy(comm)));
        let child = Arc::clone(thread.process());
        if parent.traceflag() & KTRFAC_INHERIT == 0 {
            return thread;
        }
        let mut spare = Some(Trace::new(Arc::clone(parent.system().engine()), MaySleep::new()));
        let file = parent.trace().and_then(|trace| trace.file());
        if let (Some(spare), Some(file)) = (&spare, &file) {
            spare.stock(MaySleep::new(), file);
        }
        // Dropped when no lock is held.
        let _file = child.with_locked(|of_child| {
            parent.with_locked(|of_parent| {
                let flags = parent.traceflag();
                let file = of_parent.trace.as_ref().and_then(|trace| trace.file());
                if flags & KTRFAC_INHERIT != 0
                    && let Some(file) = &file
                    && let Some(trace) = spare.take()
                {
                    let none = trace.set_file(Some(Arc::clone(file)));
                    assert!(none.is_none(), "a new trace has a file");
                    of_child.trace = Some(trace);
                    child.set_traceflag(flags);
                }
                file
            })
        });
        child.with_locked(|locked| child.queue_procctor(locked));
        thread
    }

    /// Executes another program. Records made so far are flushed before the program runs.
    pub fn exec(&self) {
        self.process.with_locked(|locked| {
            self.process.queue_procctor(locked);
            if let Some(trace) = &locked.trace {
                trace.want_flush();
                self.state.drain_wanted.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Executes a set-id program, which ends tracing. Pending records are written on the return to
    /// user mode.
    pub fn exec_set_id(&self) {
        self.process.with_locked(|locked| {
            if locked.trace.is_some() {
                self.process.set_traceflag(0);
                self.state.drain_wanted.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Starts tracing the process to `file`, as its own ktrace(2) call.
    pub fn trace_self(&self, facilities: u32, inherit: Inherit, file: &Arc<crate::File>) {
        self.process.system().set(&self.process, facilities, inherit, file);
    }

    /// Returns to user mode, and drains pending records if that was requested.
    pub fn return_to_user(&self) {
        if self.state.drain_wanted.swap(false, Ordering::Relaxed) {
            self.drain();
        }
    }

    /// Ends the thread. The last thread also ends its process, and writes the last record and all
    /// pending ones.
    pub fn exit(self) {
        let p = Arc::clone(&self.process);
        if !p.remove_thread(self.state.tid) {
            return;
        }
        self.drain();
        p.with_locked(|locked| locked.exiting = true);
        self.synchronous(&Payload::ProcDtor);
        let (trace, file) = p.with_locked(|locked| {
            p.set_traceflag(0);
            let trace = locked.trace.take();
            let file = trace.as_ref().and_then(|trace| trace.set_file(None));
            (trace, file)
        });
        if let Some(trace) = trace {
            p.system().write_failed(trace.end(MaySleep::new(), file.as_ref()));
        }
        p.system().remove(p.pid());
    }

    /// Drains pending records, and closes the process's file if tracing has ended.
    fn drain(&self) {
        let Some(_inside) = self.enter() else { return };
        let Some(trace) = self.process.trace() else { return };
        let ended = if self.process.traceflag() == 0 { self.process.end_if_cleared() } else { None };
        let failures = match ended {
            Some(file) => trace.flush(MaySleep::new(), &file),
            None => trace.drain(MaySleep::new()),
        };
        self.process.system().write_failed(failures);
    }

    /// Commits a record. The thread may sleep.
    fn synchronous(&self, payload: &Payload<'_>) {
        self.commit(payload.kind(), Synchronous::payload(payload));
    }

    /// Commits as [`Thread::synchronous`] does, a record whose payload is encoded beforehand.
    fn prepared(&self, payload: &Payload<'_>) {
        let mut record = vec![0; HEADER_LEN.saturating_add(payload.len())];
        let Some(body) = record.get_mut(HEADER_LEN..) else { return };
        if payload.encode(body).is_some() {
            let kind = payload.kind();
            self.commit(kind, Synchronous::encoded(kind, &mut record));
        }
    }

    fn commit(&self, kind: Kind, record: Synchronous<'_>) {
        if self.process.traceflag() & kind.facility() == 0 {
            return;
        }
        let Some(_inside) = self.enter() else { return };
        let Some(trace) = self.process.trace() else { return };
        self.process.count(kind);
        let (pending, failures) = trace.commit(MaySleep::new(), &self.origin(), record);
        if pending != Pending::Nothing {
            self.state.drain_wanted.store(true, Ordering::Relaxed);
        }
        self.process.system().write_failed(failures);
    }

    /// Queues a record. The thread may not sleep.
    fn asynchronous(&self, payload: &Payload<'_>) {
        if self.process.traceflag() & payload.kind().facility() == 0 {
            return;
        }
        let Some(_inside) = self.enter() else { return };
        let Some(trace) = self.process.trace() else { return };
        self.process.count(payload.kind());
        if context::sleepless(|| trace.enqueue(&self.origin(), None, payload)) != Pending::Nothing {
            self.state.drain_wanted.store(true, Ordering::Relaxed);
        }
    }

    fn enter(&self) -> Option<InKtrace<'_>> {
        set_cpu(i32::try_from(self.state.tid.rem_euclid(CPUS)).unwrap_or(0));
        (!self.in_ktrace.replace(true)).then(|| InKtrace(self))
    }

    fn origin(&self) -> Origin {
        Origin { pid: self.process.pid(), tid: self.state.tid, comm: self.process.comm() }
    }
}
