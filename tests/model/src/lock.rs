//! The engine's locks.

use std::ffi::CStr;
use std::sync::{self, MutexGuard, TryLockError};

use shuttle::sync::Mutex;

use crate::point::{Point, Waiters};
use crate::{MaySleep, context, task};

/// A mutex that may be taken where sleeping is not allowed.
pub struct ModelMutex<T> {
    name: &'static CStr,
    point: Point,
    value: sync::Mutex<T>,
    waiters: Waiters,
}

impl<T: Send> ktrace_engine::Mutex<T> for ModelMutex<T> {
    fn new(name: &'static CStr, value: T) -> Self {
        context::assert_may_lock("a mutex was made");
        ModelMutex { name, point: Point::new(), value: sync::Mutex::new(value), waiters: Waiters::new() }
    }

    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        context::assert_may_take(self.name);
        self.point.pass_locking(self.name);
        self.locked(self.waiters.wait_for(|| self.try_lock()), critical)
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        context::assert_may_take(self.name);
        self.point.pass_locking(self.name);
        Some(self.locked(self.try_lock()?, critical))
    }
}

impl<T> ModelMutex<T> {
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(value),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a task has panicked under a mutex"),
        }
    }

    fn locked<R>(&self, mut value: MutexGuard<'_, T>, critical: impl FnOnce(&mut T) -> R) -> R {
        let section = task::begin_section();
        let result = context::with_mutex(self.name, || critical(&mut value));
        task::end_section(section, context::is_queue(self.name));
        drop(value);
        self.waiters.wake();
        result
    }
}

/// A lock whose holder may sleep while other threads wait.
pub struct CommitLock<T>(Mutex<T>);

impl<T: Send> ktrace_engine::SleepLock<T, MaySleep> for CommitLock<T> {
    fn new(value: T) -> Self {
        context::assert_may_lock("a sleep lock was made");
        CommitLock(Mutex::new(value))
    }

    fn with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R {
        context::assert_may_lock("a sleep lock was taken");
        critical(&mut self.0.lock().expect("nobody panics under a lock"))
    }

    fn try_with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        context::assert_may_lock("a sleep lock was tried");
        self.0.try_lock().ok().map(|mut value| critical(&mut value))
    }
}
