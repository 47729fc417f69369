//! Files that can be full, limited, broken or suspended.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ktrace_engine::{Errno, Storage, User};
use ktrace_format::{Record, Records};

use crate::moment::{Moment, reached};
use crate::thread::{assert_may_sleep, assert_may_wait_for_leave};
use crate::{MaySleep, Point, Threads, Waiters};

/// `EINTR` of intro(2): a signal has interrupted the thread.
pub const EINTR: Errno = Errno(4);
/// `EIO` of intro(2): the error of a write to a broken file.
pub const EIO: Errno = Errno(5);
/// `EFBIG`: the file would exceed the opener's size limit.
pub const EFBIG: Errno = Errno(27);
/// `ENOSPC`: the disk is full.
pub const ENOSPC: Errno = Errno(28);

/// The faults of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The maximal length of the file in bytes. A longer write fails as a whole.
    pub capacity: Option<usize>,
    /// The writes that fail with `EIO`, counted from 0 since the file was created.
    pub broken: Range<u64>,
    /// Whether [signals](with_signal) interrupt threads. An interrupted write fails with the
    /// signal's error.
    pub interruptible: bool,
    /// The number of writes that succeed before threads are interrupted.
    pub uninterrupted: u64,
    /// A fault that no file of a kernel has.
    pub lie: Option<Lie>,
}

/// A fault that no file of a kernel has, to show that the tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A write that does not fit leaves a part that does.
    Half,
    /// The second write is reported as done, and is not.
    Forgotten,
    /// A waiting write is done after later ones.
    Overtaken,
}

impl Faults {
    /// No faults.
    pub const NONE: Faults =
        Faults { capacity: None, broken: 0..0, interruptible: false, uninterrupted: 0, lie: None };

    /// Every write fails.
    pub const DEAD: Faults = Faults { broken: 0..u64::MAX, ..Faults::NONE };
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

/// Returns the records of a file, which must all be whole.
pub fn decode(content: &[u8]) -> Vec<Record<'_>> {
    Records::new(content).map(|record| record.expect("the file holds only whole records")).collect()
}

/// A file, shared by all its openers.
pub struct Disk<T: Threads> {
    /// Locked during each write, as a vnode is.
    state: Mutex<State<T>>,
    open: AtomicUsize,
    /// The user who opens it.
    user: User,
    /// The threads that wait for the file system to be suspended, or to be resumed.
    waiters: T::Waiters,
}

struct State<T: Threads> {
    content: Vec<u8>,
    /// A write that a later one overtakes.
    waiting: Vec<u8>,
    faults: Faults,
    attempts: u64,
    appends: u64,
    /// The number of vn_start_write(9) references.
    writers: usize,
    /// The thread that has suspended the file system, or is about to. It may still write.
    suspended: Option<T::Id>,
}

impl<T: Threads> Disk<T> {
    /// Creates an empty file without faults.
    pub fn new() -> Arc<Self> {
        Disk::of(User { uid: 1001, jail: 0 })
    }

    /// Creates an empty file that this user opens.
    pub fn of(user: User) -> Arc<Self> {
        let state = State {
            content: Vec::new(),
            waiting: Vec::new(),
            faults: Faults::NONE,
            attempts: 0,
            appends: 0,
            writers: 0,
            suspended: None,
        };
        let (open, waiters) = (AtomicUsize::new(0), T::Waiters::default());
        Arc::new(Disk { state: Mutex::new(state), open, user, waiters })
    }

    /// Opens the file for appending.
    pub fn open(self: &Arc<Self>) -> OpenFile<T> {
        self.open_limited(None)
    }

    /// Opens the file for appending up to `limit` bytes, the opener's `RLIMIT_FSIZE`.
    pub fn open_limited(self: &Arc<Self>, limit: Option<usize>) -> OpenFile<T> {
        self.open.fetch_add(1, Relaxed);
        OpenFile { disk: Arc::clone(self), limit }
    }

    /// Returns how many times the file is open.
    pub fn open_count(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Sets the faults of the file.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Returns the content of the file.
    pub fn content(&self) -> Vec<u8> {
        let state = self.state();
        [&state.content[..], &state.waiting].concat()
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

    /// Suspends the file system until `work` is done. Only this thread writes meanwhile.
    pub fn suspend(&self, work: impl FnOnce()) {
        self.waiters.wait_for(|| {
            let mut state = self.state();
            state.suspended.is_none().then(|| state.suspended = Some(T::current()))
        });
        self.waiters.wait_for(|| (self.state().writers == 0).then_some(()));
        T::pass(Point::Disk);
        work();
        self.state().suspended = None;
        self.waiters.wake();
    }

    fn start_write(self: &Arc<Self>) -> Option<Leave<T>> {
        let mut state = self.state();
        if state.suspended.as_ref().is_some_and(|owner| *owner != T::current()) {
            return None;
        }
        state.writers += 1;
        Some(Leave(Arc::clone(self)))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Threads> State<T> {
    fn append(&mut self, limit: Option<usize>, bytes: &[u8]) -> Result<(), Errno> {
        let attempt = self.attempts;
        self.attempts += 1;
        let end = self.content.len() + self.waiting.len() + bytes.len();
        if let Some(errno) = SIGNAL.get().filter(|_| self.faults.interruptible) {
            self.faults.uninterrupted = self.faults.uninterrupted.checked_sub(1).ok_or(errno)?;
        }
        if self.faults.broken.contains(&attempt) {
            return Err(EIO);
        }
        if limit.is_some_and(|limit| end > limit) {
            return Err(EFBIG);
        }
        if let Some(capacity) = self.faults.capacity.filter(|capacity| end > *capacity) {
            if self.faults.lie == Some(Lie::Half) {
                self.content.extend_from_slice(&bytes[..bytes.len() - (end - capacity)]);
            }
            return Err(ENOSPC);
        }
        self.appends += 1;
        match self.faults.lie {
            Some(Lie::Forgotten) if attempt == 1 => {}
            Some(Lie::Overtaken) if self.waiting.is_empty() => self.waiting.extend_from_slice(bytes),
            _ => {
                self.content.extend_from_slice(bytes);
                self.content.append(&mut self.waiting);
            }
        }
        Ok(())
    }
}

/// An open file of one ktrace(2) call. Closed on drop, which may sleep.
pub struct OpenFile<T: Threads> {
    disk: Arc<Disk<T>>,
    limit: Option<usize>,
}

impl<T: Threads> OpenFile<T> {
    /// Returns the file itself.
    pub fn disk(&self) -> &Arc<Disk<T>> {
        &self.disk
    }
}

/// A vn_start_write(9) reference. While it is held, the file system is not suspended.
pub struct Leave<T: Threads>(Arc<Disk<T>>);

impl<T: Threads> Drop for Leave<T> {
    fn drop(&mut self) {
        self.0.state().writers -= 1;
        self.0.waiters.wake();
    }
}

impl<T: Threads> Storage<MaySleep> for OpenFile<T> {
    type Target = (usize, Option<usize>);
    type Leave = Leave<T>;

    fn target(&self) -> Self::Target {
        (Arc::as_ptr(&self.disk).addr(), self.limit)
    }

    fn user(&self) -> User {
        self.disk.user
    }

    fn start_write(&self, _: MaySleep) -> Leave<T> {
        assert_may_wait_for_leave();
        self.disk.waiters.wait_for(|| self.disk.start_write())
    }

    fn try_start_write(&self, _: MaySleep) -> Option<Leave<T>> {
        assert_may_sleep("leave to write was taken");
        self.disk.start_write()
    }

    fn append(&self, _: &Leave<T>, bytes: &[u8]) -> Result<(), Errno> {
        assert_may_sleep("a file was written");
        T::pass(Point::Disk);
        reached(Moment::Write);
        self.disk.state().append(self.limit, bytes)
    }
}

impl<T: Threads> Drop for OpenFile<T> {
    fn drop(&mut self) {
        assert_may_sleep("a file was closed");
        self.disk.open.fetch_sub(1, Relaxed);
    }
}
