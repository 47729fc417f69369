//! mutex(9) and sx(9) around the values that they guard.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use super::context::MaySleep;
use crate::machine::curthread;

/// Where locks are taken, for witness(4).
pub(super) const FILE: &CStr = c"ktrace_rs";

// What follows are no shims, as each record takes some of these locks.

/// Panics if the current thread holds a lock. Without INVARIANTS mutexes and sx locks recurse, and a second reference to the
/// guarded value would be given away.
///
/// # Safety
///
/// `word` is the lock word of a lock that is initialised, and `flags` the bits of it that are not of its owner.
#[inline(always)]
unsafe fn panic_if_held(word: *mut usize, flags: u32) {
    #[cold]
    fn held() -> ! {
        panic!("a lock is taken by the thread that holds it");
    }

    // SAFETY: the caller's. No other thread writes or clears the current thread's number.
    let owner = unsafe { AtomicUsize::from_ptr(word) }.load(Ordering::Relaxed) & !(flags as usize);
    if owner == curthread() as usize {
        held();
    }
}

/// What mtx_lock(9) is in a module.
///
/// # Safety
///
/// `mutex` is initialised, and not held by the current thread, which is in no interrupt filter and has
/// no spin lock.
pub(super) unsafe fn mtx_lock(mutex: *mut sys::mtx) {
    // SAFETY: the caller's.
    unsafe {
        sys::__mtx_lock_flags((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
}

/// What mtx_trylock(9) is in a module; whether it took the lock.
///
/// # Safety
///
/// As for [`mtx_lock`], but where the current thread holds the mutex this fails.
unsafe fn mtx_trylock(mutex: *mut sys::mtx) -> bool {
    // SAFETY: the caller's.
    let taken = unsafe {
        sys::_mtx_trylock_flags_((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
    taken != 0
}

/// What mtx_unlock(9) is in a module.
///
/// # Safety
///
/// `mutex` is held by the current thread.
pub(super) unsafe fn mtx_unlock(mutex: *mut sys::mtx) {
    // SAFETY: the caller's.
    unsafe {
        sys::__mtx_unlock_flags((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
}

/// What sx_xlock(9) is in a module.
///
/// # Safety
///
/// `sx` is initialised, and not held by the current thread, which may sleep.
unsafe fn sx_xlock(sx: *mut sys::sx) {
    // SAFETY: the caller's. Without SX_INTERRUPTIBLE this succeeds.
    unsafe { sys::_sx_xlock(sx, 0, FILE.as_ptr(), line!().cast_signed()) };
}

/// What sx_xunlock(9) is in a module.
///
/// # Safety
///
/// `sx` is held exclusively by the current thread.
unsafe fn sx_xunlock(sx: *mut sys::sx) {
    // SAFETY: the caller's.
    unsafe { sys::_sx_xunlock(sx, FILE.as_ptr(), line!().cast_signed()) };
}

/// A default mutex and what it guards. The lock is boxed, so that it never moves.
pub(crate) struct DefaultMutex<T> {
    mutex: Box<UnsafeCell<sys::mtx>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only with the mutex held.
unsafe impl<T: Send> Send for DefaultMutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DefaultMutex<T> {}

impl<T: Send> ktrace_engine::Mutex<T> for DefaultMutex<T> {
    fn new(name: &'static CStr, value: T) -> Self {
        // SAFETY: all zero is a struct mtx that mtx_init(9) accepts.
        let mutex = Box::new(UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));
        // SAFETY: the mutex stays where it is until it is destroyed; the name is static.
        unsafe { sys::ktrace_rs_mtx_init(mutex.get(), name.as_ptr()) };
        DefaultMutex { mutex, value: UnsafeCell::new(value) }
    }

    #[inline(always)]
    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        let mutex = self.mutex.get();
        // SAFETY: the mutex was initialised by new(), and the current thread does not hold it.
        unsafe {
            panic_if_held((&raw mut (*mutex).mtx_lock).cast(), sys::MTX_FLAGMASK);
            mtx_lock(mutex);
        }
        // SAFETY: taken above.
        unsafe { self.locked(critical) }
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: the mutex was initialised by new().
        if !unsafe { mtx_trylock(self.mutex.get()) } {
            return None;
        }
        // SAFETY: taken above.
        Some(unsafe { self.locked(critical) })
    }
}

impl<T> DefaultMutex<T> {
    /// Runs `critical`, and releases the mutex.
    ///
    /// # Safety
    ///
    /// The current thread has just taken the mutex.
    #[inline(always)]
    unsafe fn locked<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the mutex is held once. critical() gets no second reference: with() panics, try_with() fails.
        let result = critical(unsafe { &mut *self.value.get() });
        // SAFETY: the caller's.
        unsafe { mtx_unlock(self.mutex.get()) };
        result
    }
}

impl<T> Drop for DefaultMutex<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the mutex any more.
        unsafe { sys::ktrace_rs_mtx_destroy(self.mutex.get()) };
    }
}

/// An sx lock and what it guards. The lock is boxed, so that it never moves.
pub(crate) struct SxLock<T> {
    sx: Box<UnsafeCell<sys::sx>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only with the lock held exclusively.
unsafe impl<T: Send> Send for SxLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SxLock<T> {}

impl<T: Send> ktrace_engine::SleepLock<T, MaySleep> for SxLock<T> {
    fn new(value: T) -> Self {
        // SAFETY: all zero is a struct sx that sx_init(9) accepts.
        let sx = Box::new(UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));
        // SAFETY: the lock stays where it is until it is destroyed; the name is static.
        unsafe { sys::ktrace_rs_sx_init(sx.get(), c"ktrace_rs commit".as_ptr()) };
        SxLock { sx, value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R {
        let sx = self.sx.get();
        // SAFETY: the lock was initialised by new(), the current thread does not hold it, and the caller may sleep.
        unsafe {
            // Of a shared lock the word is no owner.
            panic_if_held((&raw mut (*sx).sx_lock).cast(), sys::SX_LOCK_FLAGMASK & !sys::SX_LOCK_SHARED);
            sx_xlock(sx);
        }
        // SAFETY: taken above.
        unsafe { self.locked(critical) }
    }

    fn try_with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: the lock was initialised by new().
        if !unsafe { sys::ktrace_rs_sx_try_xlock(self.sx.get()) } {
            return None;
        }
        // SAFETY: taken above.
        Some(unsafe { self.locked(critical) })
    }
}

impl<T> SxLock<T> {
    /// Runs `critical`, and releases the lock.
    ///
    /// # Safety
    ///
    /// The current thread has just taken the lock.
    unsafe fn locked<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the lock is held once. critical() gets no second reference: with() panics, try_with() fails.
        let result = critical(unsafe { &mut *self.value.get() });
        // SAFETY: the caller's.
        unsafe { sx_xunlock(self.sx.get()) };
        result
    }
}

impl<T> Drop for SxLock<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the lock any more.
        unsafe { sys::ktrace_rs_sx_destroy(self.sx.get()) };
    }
}

/// One of the kernel's own sx locks, held shared.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct SxShared(*mut sys::sx);

impl SxShared {
    /// `allproc_lock`: see [`AllProc`](super::proc::AllProc).
    pub(super) fn allproc(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::allproc_lock)
    }

    /// `proctree_lock`: see [`ProcTree`](super::proc::ProcTree).
    pub(super) fn proctree(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::proctree_lock)
    }

    /// `modules_sx` (`MOD_SLOCK`): no module comes or goes.
    pub(crate) fn modules(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::modules_sx)
    }

    fn lock(sx: *mut sys::sx) -> Self {
        // SAFETY: a lock that the kernel keeps for ever; the constructors ask for MaySleep.
        unsafe { sys::ktrace_rs_sx_slock(sx) };
        SxShared(sx)
    }
}

impl Drop for SxShared {
    fn drop(&mut self) {
        // SAFETY: taken by lock().
        unsafe { sys::ktrace_rs_sx_sunlock(self.0) };
    }
}
