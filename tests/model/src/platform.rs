//! The model as the engine's platform.

use ktrace_engine::{Platform, ProcTrace, TraceFile};
use ktrace_format::Timespec;

use crate::{CommitLock, ModelCounter, ModelMutex, OpenFile, context, task};

/// The system in which the scheduler selects the next task.
pub struct Model;

/// The trace of a process.
pub type Trace = ProcTrace<Model>;
/// An open trace file.
pub type File = TraceFile<Model>;
/// The processes whose records could not be written.
pub type Failures = ktrace_engine::Failures<Model>;
/// The state that all traces share.
pub type Engine = ktrace_engine::Engine<Model>;

/// Proof that the running task may sleep.
#[derive(Clone, Copy, Debug)]
pub struct MaySleep(());

impl MaySleep {
    /// Creates the proof. Panics under a mutex.
    pub fn new() -> Self {
        context::assert_may_lock("leave to sleep was taken");
        MaySleep(())
    }
}

impl Default for MaySleep {
    fn default() -> Self {
        MaySleep::new()
    }
}

impl Platform for Model {
    type MaySleep = MaySleep;
    type Mutex<T: Send> = ModelMutex<T>;
    type SleepLock<T: Send> = CommitLock<T>;
    type Storage = OpenFile;
    type Counter = ModelCounter;

    fn now() -> Timespec {
        task::read_clock()
    }

    fn ticks() -> u64 {
        0
    }

    fn cpu() -> i32 {
        0
    }
}
