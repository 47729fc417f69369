//! Simulated processes.

use std::mem::forget;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::panicking;

use ktrace_engine::{Origin, Pending};
use ktrace_format::{Kind, MAXCOMLEN, Payload, PerKind, ProcCtor};

use crate::{File, System, Trace, context};

/// A process. Its threads are [`crate::Thread`]s.
pub struct Process {
    system: Arc<System>,
    pid: i32,
    comm: [u8; MAXCOMLEN + 1],
    /// The process's `p_traceflag`.
    traceflag: AtomicU32,
    /// The number of records that trace points have passed to the engine.
    generated: PerKind<AtomicU64>,
    /// The process lock, which is a mutex: see [`Process::with_locked`].
    locked: Mutex<Locked>,
}

/// The fields guarded by the process lock.
#[derive(Default)]
pub(crate) struct Locked {
    /// The process's `p_ktrioparms`. Set once, and removed at exit.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Whether the process is exiting (`P_WEXIT`).
    pub(crate) exiting: bool,
    pub(crate) threads: Vec<Arc<ThreadState>>,
}

/// The fields of a thread that other threads may access.
pub(crate) struct ThreadState {
    pub(crate) tid: i64,
    /// Whether to drain the queue before the thread returns to user mode (`TDA_MOD3`).
    pub(crate) drain_wanted: AtomicBool,
}

impl Process {
    pub(crate) fn new(system: &Arc<System>, comm: &str) -> Arc<Self> {
        let mut name = [0; MAXCOMLEN + 1];
        for (to, from) in name.iter_mut().take(MAXCOMLEN).zip(comm.bytes()) {
            *to = from;
        }
        let process = Arc::new(Process {
            system: Arc::clone(system),
            pid: system.next_id(),
            comm: name,
            traceflag: AtomicU32::new(0),
            generated: PerKind::from_fn(|_| AtomicU64::new(0)),
            locked: Mutex::default(),
        });
        system.add(&process);
        process
    }

    /// Returns the process ID.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the system that the process runs on.
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// Returns the traced facilities (`KTRFAC_SYSCALL` …). Zero if the process is not traced.
    pub fn traceflag(&self) -> u32 {
        self.traceflag.load(Ordering::Relaxed)
    }

    /// Returns the number of records of a type that trace points have passed to the engine.
    pub fn generated(&self, kind: Kind) -> u64 {
        self.generated.get(kind).load(Ordering::Relaxed)
    }

    /// Returns the process's trace, if it was ever traced.
    pub fn trace(&self) -> Option<Arc<Trace>> {
        self.lock().trace.clone()
    }

    /// Returns the number of threads.
    pub fn threads(&self) -> usize {
        self.lock().threads.len()
    }

    pub(crate) fn comm(&self) -> [u8; MAXCOMLEN + 1] {
        self.comm
    }

    pub(crate) fn set_traceflag(&self, flags: u32) {
        self.traceflag.store(flags, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, kind: Kind) {
        self.generated.get(kind).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_thread(&self, state: Arc<ThreadState>) {
        self.lock().threads.push(state);
    }

    /// Removes a thread from the process. Returns true if it was the last one.
    pub(crate) fn remove_thread(&self, tid: i64) -> bool {
        let mut locked = self.lock();
        locked.threads.retain(|state| state.tid != tid);
        locked.threads.is_empty()
    }

    /// Runs `work` with the process lock held. It may not sleep, allocate or free.
    pub(crate) fn with_locked<R>(&self, work: impl FnOnce(&mut Locked) -> R) -> R {
        let mut locked = self.lock();
        context::sleepless(|| work(&mut locked))
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the `KTR_PROCCTOR` record, for the first thread to drain. The process must be locked.
    pub(crate) fn queue_procctor(&self, locked: &Locked) {
        if self.traceflag() & Kind::ProcCtor.facility() == 0 {
            return;
        }
        let (Some(trace), Some(first)) = (&locked.trace, locked.threads.first()) else { return };
        let origin = Origin { pid: self.pid, tid: first.tid, comm: self.comm };
        // SV_LP64 and the number of FreeBSD's own ABI.
        let payload = Payload::ProcCtor(ProcCtor { sv_flags: 0x0002_0009 });
        self.count(Kind::ProcCtor);
        if trace.enqueue(&origin, None, &payload) != Pending::Nothing {
            first.drain_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the file from the process if it is not traced any more.
    #[must_use = "the file is to be flushed, and dropped where sleeping is allowed"]
    pub(crate) fn end_if_cleared(&self) -> Option<Arc<File>> {
        self.with_locked(|locked| {
            if self.traceflag() != 0 {
                return None;
            }
            locked.trace.as_ref().and_then(|trace| trace.set_file(None))
        })
    }
}

impl Drop for Process {
    /// Leaks the state that a failed test leaves behind, so that its checks do not hide the
    /// failure.
    fn drop(&mut self) {
        if panicking()
            && let Some(trace) = self.trace()
        {
            forget((trace.set_file(None), trace));
        }
    }
}
