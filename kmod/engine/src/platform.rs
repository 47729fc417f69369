//! The interface to the system that the engine runs in.

use core::ffi::CStr;

use ktrace_format::{Kind, Timespec};

use crate::User;

/// An error number of intro(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `EINTR`, and `ERESTART` of the kernel.
    const INTERRUPTED: [Errno; 2] = [Errno(4), Errno(-1)];

    /// Returns whether a signal has interrupted the thread. Such an error concerns the thread, not
    /// its file.
    pub fn is_interrupted(self) -> bool {
        Errno::INTERRUPTED.contains(&self)
    }
}

/// The system: its locks, its files, its clock.
///
/// Context: an operation that takes a [`Platform::MaySleep`] may sleep. Only a context that may
/// sleep can supply one. All other operations may be called anywhere except under a spin lock or in
/// an interrupt filter.
pub trait Platform: Sized + 'static {
    /// Proof that the caller may sleep and holds no lock that forbids it.
    type MaySleep: Copy;
    /// A lock that may be taken where sleeping is not allowed.
    type Mutex<T: Send>: Mutex<T>;
    /// A lock whose holder may sleep.
    type SleepLock<T: Send>: SleepLock<T, Self::MaySleep>;
    /// A file that records are appended to.
    type Storage: Storage<Self::MaySleep>;
    /// A statistics counter.
    type Counter: Counter;

    /// Returns the time of day.
    fn now() -> Timespec;

    /// Returns the reading of a clock that costs next to nothing to read, in the clock's own units.
    /// The clock of another CPU may be somewhat behind.
    fn ticks() -> u64;

    /// Returns the number of the CPU that the caller runs on.
    fn cpu() -> i32;

    /// Reports an event to an observer. Locks of the engine may be held, and sleeping is not
    /// allowed.
    fn watch(event: Event<'_, Self::Storage>) {
        let _ = event;
    }
}

/// An event in the life of a record.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a, S> {
    /// A trace point has made a record.
    Made {
        /// Type of the record.
        kind: Kind,
        /// Length of the record in bytes.
        len: usize,
        /// Set if the record was made where sleeping is allowed.
        may_sleep: bool,
    },
    /// A record was added to the queue of its process.
    Queued {
        /// Type of the record.
        kind: Kind,
        /// Length of the record in bytes.
        len: usize,
        /// Bytes in the queue, including this record.
        queued: usize,
    },
    /// Records were written to a file.
    Committed {
        /// The file.
        file: &'a S,
        /// The records.
        records: &'a [u8],
        /// Time that the write took, in units of [`Platform::ticks`].
        ticks: u64,
    },
    /// A record was dropped: no file will hold it.
    Dropped {
        /// Type of the record.
        kind: Kind,
    },
    /// A new record has no room before earlier records are written. Its thread will write these, or
    /// wait for the thread that is writing them.
    Full {
        /// File that the record goes to.
        file: &'a S,
    },
    /// The thread of [`Event::Full`] continues.
    Room {
        /// File that the record goes to.
        file: &'a S,
    },
}

/// A lock that may be taken where sleeping is not allowed (mutex(9), `MTX_DEF`).
pub trait Mutex<T>: Send + Sync {
    /// Creates a lock around `value`, with a name for checks of the lock order. May allocate, and
    /// so may sleep.
    fn new(name: &'static CStr, value: T) -> Self;

    /// Runs `critical` with the lock held. `critical` must not sleep or allocate.
    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R;

    /// Runs `critical` like [`Mutex::with`]. If another thread holds the lock, returns `None`
    /// without running it.
    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R>;
}

/// A lock whose holder may sleep (sx(9)).
pub trait SleepLock<T, MaySleep>: Send + Sync {
    /// Creates a lock around `value`. May allocate, and so may sleep.
    fn new(value: T) -> Self;

    /// Runs `critical` with the lock held. May sleep.
    fn with<R>(&self, may_sleep: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R;

    /// Runs `critical` like [`SleepLock::with`]. If a thread holds the lock, returns `None` without
    /// running it.
    fn try_with<R>(&self, may_sleep: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R>;
}

/// A file that records are appended to (a vnode with the credential to write it).
///
/// Dropping it closes the file, which may sleep.
pub trait Storage<MaySleep>: Send + Sync {
    /// What a write depends on: the file, and in whose name it is written.
    type Target: PartialEq + Send;

    /// A `vn_start_write()` reference (vn_start_write(9)). While it exists, the file system cannot
    /// be suspended.
    type Leave;

    /// Returns the target. Openings with equal targets are interchangeable while one is open. May
    /// be dropped where sleeping is allowed.
    fn target(&self) -> Self::Target;

    /// Returns the user who has opened the file, to whom memory is charged.
    fn user(&self) -> User;

    /// Waits while the file system is suspended, then takes a reference. May sleep.
    fn start_write(&self, may_sleep: MaySleep) -> Self::Leave;

    /// Takes a reference like [`Storage::start_write`]. Returns `None` if the file system is
    /// suspended, or if another thread has the file locked. May sleep.
    fn try_start_write(&self, may_sleep: MaySleep) -> Option<Self::Leave>;

    /// Appends all of `bytes`, or appends nothing and returns the reason. May sleep. Bytes that an
    /// [interrupted](Errno::is_interrupted) thread could not append are appended next.
    fn append(&self, leave: &Self::Leave, bytes: &[u8]) -> Result<(), Errno>;
}

/// A counter that many CPUs add to at once (counter(9)).
pub trait Counter: Send + Sync {
    /// Creates a counter of zero. May sleep.
    fn new() -> Self;

    /// Adds `n`, which may be negative.
    fn add(&self, n: i64);

    /// Returns the sum of everything added so far.
    fn fetch(&self) -> u64;
}
