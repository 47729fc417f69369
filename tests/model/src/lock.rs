//! The engine's locks.

use std::sync;

use shuttle::sync::Mutex;

use crate::point::Point;
use crate::{MaySleep, context, task};

/// A mutex that may be taken where sleeping is not allowed. Nobody is switched to while it is held,
/// so nobody ever waits for it.
pub struct QueueMutex<T> {
    point: Point,
    value: sync::Mutex<T>,
}

impl<T: Send> ktrace_engine::Mutex<T> for QueueMutex<T> {
    fn new(value: T) -> Self {
        context::assert_may_lock("a mutex was made");
        QueueMutex { point: Point::new(), value: sync::Mutex::new(value) }
    }

    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        context::assert_may_lock("a mutex was taken");
        self.point.pass();
        let mut value = self.value.try_lock().expect("nobody is switched to under a mutex");
        task::begin_section();
        let result = context::with_mutex(|| critical(&mut value));
        task::end_section();
        result
    }
}

/// A lock whose holder may sleep, and others wait.
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
