//! The doubles as the engine's platform.

use std::ffi::CStr;
use std::marker::PhantomData;

use ktrace_engine::{Event, Platform, ProcTrace, TraceFile};
use ktrace_format::{Kind, Timespec};

use crate::moment::{Moment, reached};
use crate::{CommitLock, DoubleCounter, DoubleMutex, OpenFile, clock, thread};

/// The threads that use the doubles.
pub trait Threads: Send + Sync + 'static {
    /// The threads that wait for a lock, or for a file system.
    type Waiters: Waiters;
    /// The identity of a thread.
    type Id: PartialEq + Send;

    /// Returns the identity of the current thread.
    fn current() -> Self::Id;

    /// Lets other threads run before the current one uses an object that they share.
    fn pass(_: Point) {}

    /// Notes what the engine does in the current thread. Must not allocate.
    fn note(_: Note) {}
}

/// Threads that wait for an object which they share.
pub trait Waiters: Default + Send + Sync {
    /// Waits until `attempt` returns a value.
    fn wait_for<R>(&self, attempt: impl Fn() -> Option<R>) -> R;

    /// Makes all waiting threads try again.
    fn wake(&self);
}

/// An object that threads share, about to be used.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// A mutex of this name.
    Mutex(&'static CStr),
    /// A commit lock.
    CommitLock,
    /// A counter.
    Counter,
    /// A file.
    Disk,
}

/// An action of the engine in the current thread.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// A mutex was taken.
    Locked,
    /// The mutex of this name is about to be released.
    Unlocking(&'static CStr),
    /// The clock was read.
    Read(Timespec),
    /// A counter was changed.
    Counted(i64),
    /// A record was dropped.
    Dropped(Kind),
}

/// The system around the engine.
pub struct Double<T>(PhantomData<T>);

/// The trace of a process.
pub type Trace<T> = ProcTrace<Double<T>>;
/// An open trace file.
pub type File<T> = TraceFile<Double<T>>;
/// The processes whose records could not be written.
pub type Failures<T> = ktrace_engine::Failures<Double<T>>;
/// The state that all traces share.
pub type Engine<T> = ktrace_engine::Engine<Double<T>>;

/// Proof that the current thread may sleep.
#[derive(Clone, Copy, Debug)]
pub struct MaySleep(PhantomData<*const ()>);

impl MaySleep {
    /// Creates the proof. Panics if the current thread may not sleep.
    pub fn new() -> Self {
        thread::assert_may_sleep("leave to sleep was taken");
        MaySleep(PhantomData)
    }
}

impl Default for MaySleep {
    fn default() -> Self {
        MaySleep::new()
    }
}

impl<T: Threads> Platform for Double<T> {
    type MaySleep = MaySleep;
    type Mutex<V: Send> = DoubleMutex<V, T>;
    type SleepLock<V: Send> = CommitLock<V, T>;
    type Storage = OpenFile<T>;
    type Counter = DoubleCounter<T>;

    fn now() -> Timespec {
        let now = clock::now();
        T::note(Note::Read(now));
        now
    }

    fn ticks() -> u64 {
        clock::last_reading().since(Timespec::default())
    }

    fn cpu() -> i32 {
        0
    }

    fn watch(event: Event<'_, OpenFile<T>>) {
        match event {
            Event::Dropped { kind } => T::note(Note::Dropped(kind)),
            Event::Full { .. } => reached(Moment::Full),
            _ => {}
        }
    }
}
