//! What the engine asks of the system that it runs in.

use core::ffi::CStr;

use ktrace_format::{Kind, Timespec};

/// An error number of intro(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// `EINTR`, and `ERESTART` of the kernel.
    const INTERRUPTED: [Errno; 2] = [Errno(4), Errno(-1)];

    /// Returns whether a signal has interrupted the thread: the error concerns the thread, not its file.
    pub fn is_interrupted(self) -> bool {
        Errno::INTERRUPTED.contains(&self)
    }
}

/// The system: its locks, its files, its clock.
///
/// Context: an operation that takes a [`Platform::MaySleep`] may sleep, and only a
/// context that may sleep has one to give. All others may be called anywhere but under
/// a spin lock and in an interrupt filter.
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

    /// The time of day.
    fn now() -> Timespec;

    /// What a clock says that costs next to nothing to read, in units of its own. Another CPU's may be
    /// somewhat behind.
    fn ticks() -> u64;

    /// The number of the CPU that the caller runs on.
    fn cpu() -> i32;

    /// Is told what happens, for whoever watches. Locks of the engine may be held, and sleeping is not
    /// allowed.
    fn watch(event: Event<'_, Self::Storage>) {
        let _ = event;
    }
}

/// What happens to records.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a, S> {
    /// A trace point has made a record.
    Made {
        /// Its type.
        kind: Kind,
        /// Its length in bytes.
        len: usize,
        /// Whether it was made where sleeping is allowed.
        may_sleep: bool,
    },
    /// A record was queued on its process, which has so many bytes of them now.
    Queued {
        /// Its type.
        kind: Kind,
        /// Its length in bytes.
        len: usize,
        /// What is queued in all.
        queued: usize,
    },
    /// Records were written to a file.
    Committed {
        /// The file.
        file: &'a S,
        /// The records.
        records: &'a [u8],
        /// How long that took, in units of [`Platform::ticks`].
        ticks: u64,
    },
    /// No file will hold a record.
    Dropped {
        /// Its type.
        kind: Kind,
    },
    /// A thread that has made a record finds no room for it, and is to write what is before it, or waits
    /// for who does.
    Full {
        /// Its file.
        file: &'a S,
    },
    /// It goes on.
    Room {
        /// Its file.
        file: &'a S,
    },
}

/// A lock that may be taken where sleeping is not allowed (mutex(9), `MTX_DEF`).
pub trait Mutex<T>: Send + Sync {
    /// A lock around `value`, with a name for those who check the order of locks. May allocate, and
    /// so sleep.
    fn new(name: &'static CStr, value: T) -> Self;

    /// Runs `critical` with the lock held. `critical` must not sleep or allocate.
    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R;

    /// As [`Mutex::with`], but `None`, and `critical` is not run, where another thread has the lock.
    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R>;
}

/// A lock whose holder may sleep (sx(9)).
pub trait SleepLock<T, MaySleep>: Send + Sync {
    /// A lock around `value`. May allocate, and so sleep.
    fn new(value: T) -> Self;

    /// Runs `critical` with the lock held. May sleep.
    fn with<R>(&self, may_sleep: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R;

    /// As [`SleepLock::with`], but `None`, and `critical` is not run, where a thread has the lock.
    fn try_with<R>(&self, may_sleep: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R>;
}

/// A file that records are appended to (a vnode with the credential to write it).
///
/// Dropping it closes the file, which may sleep.
pub trait Storage<MaySleep>: Send + Sync {
    /// Leave to write (vn_start_write(9)): while it is there, the file system does not get
    /// suspended.
    type Leave;

    /// Waits while the file system is suspended. May sleep.
    fn start_write(&self, may_sleep: MaySleep) -> Self::Leave;

    /// As [`Storage::start_write`], but `None` where the file system is suspended. May sleep.
    fn try_start_write(&self, may_sleep: MaySleep) -> Option<Self::Leave>;

    /// Appends all of `bytes`, or nothing and returns why. May sleep. Bytes that an [interrupted](Errno::is_interrupted)
    /// thread could not append are appended next.
    fn append(&self, leave: &Self::Leave, bytes: &[u8]) -> Result<(), Errno>;
}

/// A counter that many CPUs add to at once (counter(9)).
pub trait Counter: Send + Sync {
    /// A counter of zero. May sleep.
    fn new() -> Self;

    /// Adds `n`, which may be negative.
    fn add(&self, n: i64);

    /// The sum of all that was added so far.
    fn fetch(&self) -> u64;
}
