//! The engine's locks, with checks of their use.

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::MaySleep;
use crate::context::{self, Entered};
use crate::interleave::{Point, point};

/// A lock and its owner.
struct Owned<T> {
    value: Mutex<T>,
    /// The number of the owner, or 0.
    owner: AtomicU64,
}

impl<T> Owned<T> {
    fn new(value: T) -> Self {
        Owned { value: Mutex::new(value), owner: AtomicU64::new(0) }
    }

    /// Panics if the current thread holds the lock. A second attempt would wait for ever.
    fn assert_not_mine(&self) {
        assert_ne!(
            self.owner.load(Ordering::Relaxed),
            current(),
            "a thread takes a lock that it has already"
        );
    }

    fn with<R>(&self, entered: Entered, critical: impl FnOnce(&mut T) -> R) -> R {
        // A panic in another test thread is reported by that thread.
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.locked(value, entered, critical)
    }

    fn try_with<R>(&self, entered: Entered, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.locked(value, entered, critical))
    }

    fn locked<R>(
        &self,
        mut value: MutexGuard<'_, T>,
        entered: Entered,
        critical: impl FnOnce(&mut T) -> R,
    ) -> R {
        /// Clears the owner on drop, also when `critical` panics.
        struct Release<'a>(&'a AtomicU64);
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Relaxed);
            }
        }
        self.owner.store(current(), Ordering::Relaxed);
        let _release = Release(&self.owner);
        let result = critical(&mut value);
        drop(entered);
        result
    }
}

/// Returns the number of the current thread, counted from 1.
fn current() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

/// A mutex that may be taken where sleeping is not allowed. Under it no memory may be allocated or
/// freed, and only the locks may be taken that [`context`] allows.
pub struct HostMutex<T> {
    name: &'static CStr,
    owned: Owned<T>,
}

impl<T: Send> ktrace_engine::Mutex<T> for HostMutex<T> {
    fn new(name: &'static CStr, value: T) -> Self {
        context::assert_may_sleep("a mutex was made");
        HostMutex { name, owned: Owned::new(value) }
    }

    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        point(Point::Mutex);
        self.owned.assert_not_mine();
        let result = self.owned.with(context::enter_mutex(self.name), critical);
        point(Point::Mutex);
        result
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        point(Point::Mutex);
        let result = self.owned.try_with(context::enter_mutex(self.name), critical);
        point(Point::Mutex);
        result
    }
}

/// A lock whose holder may sleep.
pub struct CommitLock<T>(Owned<T>);

impl<T: Send> ktrace_engine::SleepLock<T, MaySleep> for CommitLock<T> {
    fn new(value: T) -> Self {
        context::assert_may_sleep("a sleep lock was made");
        CommitLock(Owned::new(value))
    }

    fn with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R {
        point(Point::CommitLock);
        self.0.assert_not_mine();
        let result = self.0.with(context::enter_commit_lock(), |value| {
            point(Point::CommitLock);
            critical(value)
        });
        point(Point::CommitLock);
        result
    }

    fn try_with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        point(Point::CommitLock);
        let result = self.0.try_with(context::enter_commit_lock(), |value| {
            point(Point::CommitLock);
            critical(value)
        });
        point(Point::CommitLock);
        result
    }
}
