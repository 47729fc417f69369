//! A platform of minimal cost: its files keep nothing, and it checks nothing.

use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{SystemTime, UNIX_EPOCH};

use ktrace_engine::{Counter, Errno, Platform, SleepLock, Storage, User};
use ktrace_format::Timespec;

/// The platform.
pub(crate) struct Bare;

/// A lock of the standard library.
pub(crate) struct Lock<T>(Mutex<T>);

/// A file that discards its writes.
pub(crate) struct Nowhere;

/// A counter shared by all threads.
pub(crate) struct Count(AtomicI64);

impl Platform for Bare {
    type MaySleep = ();
    type Mutex<T: Send> = Lock<T>;
    type SleepLock<T: Send> = Lock<T>;
    type Storage = Nowhere;
    type Counter = Count;

    fn now() -> Timespec {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timespec { sec: now.as_secs().cast_signed(), nsec: now.subsec_nanos().into() }
    }

    fn ticks() -> u64 {
        Self::now().since(Timespec::default())
    }

    fn cpu() -> i32 {
        0
    }
}

impl<T: Send> ktrace_engine::Mutex<T> for Lock<T> {
    fn new(_: &'static CStr, value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        critical(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        match self.0.try_lock() {
            Ok(mut value) => Some(critical(&mut value)),
            Err(TryLockError::Poisoned(error)) => Some(critical(&mut error.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: Send> SleepLock<T, ()> for Lock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, (): (), critical: impl FnOnce(&mut T) -> R) -> R {
        critical(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn try_with<R>(&self, (): (), critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        ktrace_engine::Mutex::try_with(self, critical)
    }
}

impl Storage<()> for Nowhere {
    type Target = ();
    type Leave = ();

    fn target(&self) {}

    fn user(&self) -> User {
        User { uid: 0, jail: 0 }
    }

    fn start_write(&self, (): ()) {}

    fn try_start_write(&self, (): ()) -> Option<()> {
        Some(())
    }

    fn append(&self, (): &(), bytes: &[u8]) -> Result<(), Errno> {
        std::hint::black_box(bytes);
        Ok(())
    }
}

impl Counter for Count {
    fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn fetch(&self) -> u64 {
        self.0.load(Ordering::Relaxed).cast_unsigned()
    }
}
