//! Files that can be slow, full, limited or dead.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use ktrace_engine::{Errno, Storage, User};

use crate::MaySleep;
use crate::context::{assert_may_sleep, assert_may_wait_for_leave};
use crate::interleave::{Point, point};

/// `EINTR` of intro(2): a signal has interrupted the thread.
pub const EINTR: Errno = Errno(4);
/// `EIO` of intro(2): the error of a write to a broken or dead file.
pub const EIO: Errno = Errno(5);
/// `EFBIG`: the file would exceed the opener's size limit.
pub const EFBIG: Errno = Errno(27);
/// `ENOSPC`: the disk is full.
pub const ENOSPC: Errno = Errno(28);

/// The faults of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The time that each write takes.
    pub delay: Duration,
    /// The maximal length of the file in bytes. A longer write fails as a whole.
    pub capacity: Option<usize>,
    /// The writes that fail with `EIO`, counted from 0 since the file was created.
    pub broken: Range<u64>,
    /// Whether the file system is suspended, so that vn_start_write(9) would wait.
    pub suspended: bool,
    /// Whether the file is gone: every write fails with `EIO`.
    pub dead: bool,
    /// Whether [signals](with_signal) interrupt threads. An interrupted write fails with the
    /// signal's error.
    pub interruptible: bool,
    /// The number of writes that succeed before threads are interrupted.
    pub uninterrupted: u64,
}

thread_local! {
    /// The error with which a pending signal interrupts the current thread.
    static SIGNAL: Cell<Option<Errno>> = const { Cell::new(None) };
}

/// Runs `work` with a signal pending for the current thread. Interrupted writes fail with `errno`.
pub fn with_signal<R>(errno: Errno, work: impl FnOnce() -> R) -> R {
    let before = SIGNAL.replace(Some(errno));
    let result = work();
    SIGNAL.set(before);
    result
}

/// A file, shared by all its openers.
#[derive(Default)]
pub struct Disk {
    /// The content and the faults. Locked during each write, as a vnode is.
    state: Mutex<State>,
    open: AtomicUsize,
    /// The user who opens it; one without a name if it is not set.
    user: OnceLock<User>,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    faults: Faults,
    attempts: u64,
    appends: u64,
}

impl Disk {
    /// Creates an empty file without faults.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates an empty file that this user opens.
    pub fn of(user: User) -> Arc<Self> {
        Arc::new(Disk { user: OnceLock::from(user), ..Disk::default() })
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

    /// Sets the faults of the file.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Returns the content of the file.
    pub fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// Returns the length of the file in bytes.
    pub fn size(&self) -> usize {
        self.state().content.len()
    }

    /// Returns the number of writes, including failed ones.
    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// Returns the number of successful writes.
    pub fn appends(&self) -> u64 {
        self.state().appends
    }

    /// Returns how many times the file is open.
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

/// An open file of one ktrace(2) call.
///
/// Closed on drop, which may sleep.
pub struct OpenFile {
    disk: Arc<Disk>,
    limit: Option<usize>,
}

impl OpenFile {
    /// Returns whether both are the same file.
    pub fn same_file(&self, disk: &Arc<Disk>) -> bool {
        Arc::ptr_eq(&self.disk, disk)
    }

    /// Returns the file itself.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }
}

impl Storage<MaySleep> for OpenFile {
    type Target = (usize, Option<usize>);
    type Leave = MaySleep;

    fn target(&self) -> Self::Target {
        (Arc::as_ptr(&self.disk).addr(), self.limit)
    }

    fn user(&self) -> User {
        self.disk.user.get().copied().unwrap_or(User { uid: 1001, jail: 0 })
    }

    /// Panics instead of waiting: a test that suspends a file system has no other thread to resume
    /// it.
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
