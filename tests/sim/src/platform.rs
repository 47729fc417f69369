//! The host as the engine's platform.

use std::cell::Cell;
use std::marker::PhantomData;

use ktrace_engine::{Platform, ProcTrace, TraceFile};
use ktrace_format::Timespec;

use crate::{CommitLock, HostCounter, HostMutex, OpenFile, clock, context};

/// The simulated system.
pub struct Host;

/// The trace of a process.
pub type Trace = ProcTrace<Host>;
/// An open trace file.
pub type File = TraceFile<Host>;
/// The processes whose records could not be written.
pub type Failures = ktrace_engine::Failures<Host>;
/// The state that all traces share.
pub type Engine = ktrace_engine::Engine<Host>;

/// Proof that the current thread may sleep. Each use checks it again.
#[derive(Clone, Copy, Debug)]
pub struct MaySleep(PhantomData<*const ()>);

impl MaySleep {
    /// Creates the proof. Panics if the current thread may not sleep.
    pub fn new() -> Self {
        context::assert_may_sleep("leave to sleep was taken");
        MaySleep(PhantomData)
    }
}

impl Default for MaySleep {
    fn default() -> Self {
        MaySleep::new()
    }
}

thread_local! {
    static CPU: Cell<i32> = const { Cell::new(0) };
}

/// Sets the CPU that the current thread runs on.
pub fn set_cpu(cpu: i32) {
    CPU.set(cpu);
}

impl Platform for Host {
    type MaySleep = MaySleep;
    type Mutex<T: Send> = HostMutex<T>;
    type SleepLock<T: Send> = CommitLock<T>;
    type Storage = OpenFile;
    type Counter = HostCounter;

    fn now() -> Timespec {
        clock::now()
    }

    fn ticks() -> u64 {
        clock::now().since(Timespec::default())
    }

    fn cpu() -> i32 {
        CPU.get()
    }
}
