//! Files that can be slow, full, limited or dead.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use ktrace_engine::{Errno, Storage};

use crate::MaySleep;
use crate::context::{assert_may_sleep, assert_may_wait_for_leave};
use crate::interleave::{Point, point};

/// `EINTR` of intro(2): a signal has interrupted the thread.
pub const EINTR: Errno = Errno(4);
/// `EIO` of intro(2): what a write to a broken or dead file returns.
pub const EIO: Errno = Errno(5);
/// `EFBIG`: the file would be larger than its opener may make it.
pub const EFBIG: Errno = Errno(27);
/// `ENOSPC`: there is no room left.
pub const ENOSPC: Errno = Errno(28);

/// How a file misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Time that each write takes.
    pub delay: Duration,
    /// Most bytes that the file may have; a write that needs more fails as a whole.
    pub capacity: Option<usize>,
    /// The writes, counted from 0 since the file was made, that fail with `EIO`.
    pub broken: Range<u64>,
    /// The file system is suspended: nobody gets leave to write.
    pub suspended: bool,
    /// The file is gone: every write fails with `EIO`.
    pub dead: bool,
    /// Threads that have [a signal](with_signal) are interrupted: their writes fail with its error.
    pub interruptible: bool,
    /// Writes that succeed before threads are interrupted.
    pub uninterrupted: u64,
}

thread_local! {
    /// How the signal ends what the current thread does, if it has one.
    static SIGNAL: Cell<Option<Errno>> = const { Cell::new(None) };
}

/// Runs `work` with a signal pending for the current thread, which ends what it does with that error.
pub fn with_signal<R>(errno: Errno, work: impl FnOnce() -> R) -> R {
    let before = SIGNAL.replace(Some(errno));
    let result = work();
    SIGNAL.set(before);
    result
}

/// A file, whoever has it open.
#[derive(Default)]
pub struct Disk {
    /// Held over each write, as a vnode's lock is.
    state: Mutex<State>,
    open: AtomicUsize,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    faults: Faults,
    attempts: u64,
    appends: u64,
}

impl Disk {
    /// An empty file that works.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Opens the file for appending.
    pub fn open(self: &Arc<Self>) -> OpenFile {
        self.open_limited(None)
    }

    /// Opens the file for appending up to `limit` bytes, the opener's `RLIMIT_FSIZE`.
    pub fn open_limited(self: &Arc<Self>, limit: Option<usize>) -> OpenFile {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenFile { disk: Arc::clone(self), limit }
    }

    /// Has the file misbehave from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// All bytes that are in the file.
    pub fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// Number of bytes in the file.
    pub fn size(&self) -> usize {
        self.state().content.len()
    }

    /// Number of writes, failed ones too.
    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// Number of writes that succeeded.
    pub fn appends(&self) -> u64 {
        self.state().appends
    }

    /// How many have the file open.
    pub fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, limit: Option<usize>, bytes: &[u8]) -> Result<(), Errno> {
        let mut state = self.state();
        sleep(state.faults.delay);
        let attempt = state.attempts;
        state.attempts = attempt.saturating_add(1);
        let end = state.content.len().saturating_add(bytes.len());
        if let Some(errno) = SIGNAL.get().filter(|_| state.faults.interruptible) {
            match state.faults.uninterrupted.checked_sub(1) {
                Some(left) => state.faults.uninterrupted = left,
                None => return Err(errno),
            }
        }
        if state.faults.dead || state.faults.broken.contains(&attempt) {
            return Err(EIO);
        }
        if limit.is_some_and(|limit| end > limit) {
            return Err(EFBIG);
        }
        if state.faults.capacity.is_some_and(|capacity| end > capacity) {
            return Err(ENOSPC);
        }
        state.content.extend_from_slice(bytes);
        state.appends = state.appends.saturating_add(1);
        Ok(())
    }
}

/// A file that one ktrace(2) call opened.
///
/// Closed on drop, which may sleep.
pub struct OpenFile {
    disk: Arc<Disk>,
    limit: Option<usize>,
}

impl OpenFile {
    /// Whether both are the same file.
    pub fn same_file(&self, disk: &Arc<Disk>) -> bool {
        Arc::ptr_eq(&self.disk, disk)
    }

    /// The file itself.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }
}

impl Storage<MaySleep> for OpenFile {
    type Leave = MaySleep;

    /// Does not wait: a test that suspends a file system has nobody else to resume it.
    fn start_write(&self, may_sleep: MaySleep) -> MaySleep {
        assert_may_wait_for_leave();
        assert!(!self.disk.state().faults.suspended, "a thread waits for a suspended file system");
        may_sleep
    }

    fn try_start_write(&self, may_sleep: MaySleep) -> Option<MaySleep> {
        (!self.disk.state().faults.suspended).then_some(may_sleep)
    }

    fn append(&self, _: &MaySleep, bytes: &[u8]) -> Result<(), Errno> {
        assert_may_sleep("a file was written");
        point(Point::Append);
        let result = self.disk.append(self.limit, bytes);
        point(Point::Appended);
        result
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        assert_may_sleep("a file was closed");
        self.disk.open.fetch_sub(1, Ordering::Relaxed);
    }
}
