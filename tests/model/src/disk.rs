//! Files that can be full or broken.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use ktrace_engine::{Errno, Storage, User};
use shuttle::thread::{self, ThreadId};

use crate::MaySleep;
use crate::context::assert_may_lock;
use crate::flaw::{self, Flaw};
use crate::point::{Point, Waiters};

/// `EIO` of intro(2): the error of a write to a broken file.
pub const EIO: Errno = Errno(5);
/// `ENOSPC`: the disk is full.
pub const ENOSPC: Errno = Errno(28);

/// The faults of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The maximal length of the file in bytes. A longer write fails as a whole.
    pub capacity: Option<usize>,
    /// The writes that fail with `EIO`, counted from 0.
    pub broken: Range<u64>,
}

impl Faults {
    /// No faults.
    pub const NONE: Faults = Faults { capacity: None, broken: 0..0 };
}

/// A file, shared by all its openers.
pub struct Disk {
    faults: Faults,
    point: Point,
    /// The content of the file. No task switch happens during a write, as if a vnode's lock were
    /// held.
    state: Mutex<State>,
    open: AtomicUsize,
    /// The number of vn_start_write(9) references.
    writers: AtomicUsize,
    /// Whether the file system is suspended, or will be once there are no references.
    suspended: AtomicBool,
    /// The thread that has suspended the file system. It may still write.
    owner: Mutex<Option<ThreadId>>,
    /// The tasks that wait for either.
    waiters: Waiters,
}

#[derive(Default)]
struct State {
    writes: Vec<Vec<u8>>,
    /// A write that a later one overtakes.
    waiting: Option<Vec<u8>>,
    size: usize,
    attempts: u64,
    failures: u64,
}

impl Disk {
    pub(crate) fn new(faults: Faults) -> Arc<Self> {
        Arc::new(Disk {
            faults,
            point: Point::new(),
            state: Mutex::default(),
            open: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            suspended: AtomicBool::new(false),
            owner: Mutex::new(None),
            waiters: Waiters::new(),
        })
    }

    pub(crate) fn open(self: &Arc<Self>) -> OpenFile {
        self.open.fetch_add(1, Relaxed);
        OpenFile(Arc::clone(self))
    }

    /// Returns the maximal length in bytes.
    pub(crate) fn capacity(&self) -> Option<usize> {
        self.faults.capacity
    }

    /// Returns the content of the file.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut state = self.state();
        let waiting = state.waiting.take();
        state.writes.extend(waiting);
        state.writes.concat()
    }

    /// Returns whether a write has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().failures != 0
    }

    /// Returns the number of successful writes.
    pub(crate) fn appends(&self) -> u64 {
        let state = self.state();
        state.attempts - state.failures
    }

    /// Suspends the file system until `work` is done. Only the suspending thread writes meanwhile.
    pub(crate) fn suspend(&self, work: impl FnOnce()) {
        self.suspended.store(true, Relaxed);
        self.waiters.wait_for(|| (self.writers.load(Relaxed) == 0).then_some(()));
        self.set_owner(Some(thread::current().id()));
        self.point.pass();
        work();
        self.set_owner(None);
        self.suspended.store(false, Relaxed);
        self.waiters.wake();
    }

    fn set_owner(&self, owner: Option<ThreadId>) {
        *self.owner.lock().expect("nobody panics here") = owner;
    }

    fn is_owner(&self) -> bool {
        *self.owner.lock().expect("nobody panics here") == Some(thread::current().id())
    }

    fn try_start_write(self: &Arc<Self>) -> Option<Leave> {
        if self.suspended.load(Relaxed) && !self.is_owner() {
            return None;
        }
        self.writers.fetch_add(1, Relaxed);
        Some(Leave(Arc::clone(self)))
    }

    /// Returns how many times the file is open.
    pub(crate) fn open_count(&self) -> usize {
        self.open.load(Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.try_lock().expect("nobody is switched to in a write")
    }

    fn append(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.point.pass();
        let mut state = self.state();
        let attempt = state.attempts;
        state.attempts += 1;
        if self.faults.broken.contains(&attempt) {
            state.failures += 1;
            return Err(EIO);
        }
        let room = self.faults.capacity.map_or(usize::MAX, |capacity| capacity - state.size);
        if bytes.len() > room {
            state.failures += 1;
            if flaw::is(Flaw::HalfBatch) {
                state.writes.push(bytes[..room].to_vec());
            }
            return Err(ENOSPC);
        }
        state.size += bytes.len();
        if flaw::is(Flaw::ForgottenWrite) && attempt == 1 {
            return Ok(());
        }
        if flaw::is(Flaw::WritesOvertake) {
            match state.waiting.take() {
                None => state.waiting = Some(bytes.to_vec()),
                Some(overtaken) => state.writes.extend([bytes.to_vec(), overtaken]),
            }
            return Ok(());
        }
        if flaw::is(Flaw::TornWrites) {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            state.writes.push(first.to_vec());
            drop(state);
            self.point.pass();
            self.state().writes.push(second.to_vec());
            return Ok(());
        }
        state.writes.push(bytes.to_vec());
        Ok(())
    }
}

/// An open file of one ktrace(2) call.
pub struct OpenFile(Arc<Disk>);

impl OpenFile {
    /// Returns whether this is an opening of `disk`.
    pub(crate) fn is_of(&self, disk: &Arc<Disk>) -> bool {
        Arc::ptr_eq(&self.0, disk)
    }
}

/// A vn_start_write(9) reference. While it is held, the file system is not suspended.
pub struct Leave(Arc<Disk>);

impl Drop for Leave {
    fn drop(&mut self) {
        if self.0.writers.fetch_sub(1, Relaxed) == 1 && self.0.suspended.load(Relaxed) {
            self.0.waiters.wake();
        }
    }
}

impl Storage<MaySleep> for OpenFile {
    type Target = usize;
    type Leave = Leave;

    fn target(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn user(&self) -> User {
        User { uid: 1001, jail: 0 }
    }

    fn start_write(&self, _: MaySleep) -> Leave {
        assert_may_lock("leave to write was taken");
        self.0.waiters.wait_for(|| self.0.try_start_write())
    }

    fn try_start_write(&self, _: MaySleep) -> Option<Leave> {
        assert_may_lock("leave to write was taken");
        self.0.try_start_write()
    }

    fn append(&self, _: &Leave, bytes: &[u8]) -> Result<(), Errno> {
        assert_may_lock("a file was written");
        self.0.append(bytes)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        assert_may_lock("a file was closed");
        self.0.open.fetch_sub(1, Relaxed);
    }
}
