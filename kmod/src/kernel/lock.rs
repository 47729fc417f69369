//! mutex(9) and sx(9) locks around the values that they protect.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use super::context::MaySleep;
use crate::machine::curthread;

/// The file name that witness(4) reports for locks taken by the module.
pub(super) const FILE: &CStr = c"ktrace_rs";

// The following functions are not shims in C, because each record takes some of these locks.

/// Panics if the current thread holds the lock. Without INVARIANTS, mutexes and sx locks recurse,
/// which would hand out a second reference to the protected value.
///
/// # Safety
///
/// `word` is the lock word of an initialised lock. `flags` are the bits of it that do not belong to
/// the owner.
#[inline(always)]
unsafe fn panic_if_held(word: *mut usize, flags: u32) {
    #[cold]
    fn held() -> ! {
        panic!("a lock is taken by the thread that holds it");
    }

    // SAFETY: the caller guarantees that the lock word is valid. The load is exact, because no
    // other thread sets or clears the current thread as the owner.
    let owner = unsafe { AtomicUsize::from_ptr(word) }.load(Ordering::Relaxed) & !(flags as usize);
    if owner == curthread() as usize {
        held();
    }
}

/// Takes a mutex, as mtx_lock(9) does in a module.
///
/// # Safety
///
/// `mutex` is initialised, and not held by the current thread. The thread is in no interrupt filter
/// and holds no spin lock.
pub(super) unsafe fn mtx_lock(mutex: *mut sys::mtx) {
    // SAFETY: the caller guarantees the above, which is all that mtx_lock(9) requires.
    unsafe {
        sys::__mtx_lock_flags((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
}

/// Tries to take a mutex, as mtx_trylock(9) does in a module. Returns whether that succeeded.
///
/// # Safety
///
/// As for [`mtx_lock`], except that the current thread may hold the mutex. The attempt then fails.
unsafe fn mtx_trylock(mutex: *mut sys::mtx) -> bool {
    // SAFETY: the caller guarantees the above, which is all that mtx_trylock(9) requires.
    let taken = unsafe {
        sys::_mtx_trylock_flags_((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
    taken != 0
}

/// Releases a mutex, as mtx_unlock(9) does in a module.
///
/// # Safety
///
/// The current thread holds `mutex`.
pub(super) unsafe fn mtx_unlock(mutex: *mut sys::mtx) {
    // SAFETY: the caller guarantees that the current thread holds the mutex.
    unsafe {
        sys::__mtx_unlock_flags((&raw mut (*mutex).mtx_lock).cast(), 0, FILE.as_ptr(), line!().cast_signed())
    };
}

/// Takes an sx lock exclusively, as sx_xlock(9) does in a module.
///
/// # Safety
///
/// `sx` is initialised, and not held by the current thread, which may sleep.
unsafe fn sx_xlock(sx: *mut sys::sx) {
    // SAFETY: the caller guarantees the above. Without SX_INTERRUPTIBLE, _sx_xlock() always
    // succeeds.
    unsafe { sys::_sx_xlock(sx, 0, FILE.as_ptr(), line!().cast_signed()) };
}

/// Releases an exclusive sx lock, as sx_xunlock(9) does in a module.
///
/// # Safety
///
/// The current thread holds `sx` exclusively.
unsafe fn sx_xunlock(sx: *mut sys::sx) {
    // SAFETY: the caller guarantees that the current thread holds the lock exclusively.
    unsafe { sys::_sx_xunlock(sx, FILE.as_ptr(), line!().cast_signed()) };
}

/// A default mutex (`MTX_DEF`) and the value that it protects. The lock is boxed, so that it never
/// moves.
pub(crate) struct DefaultMutex<T> {
    mutex: Box<UnsafeCell<sys::mtx>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is accessed only with the mutex held.
unsafe impl<T: Send> Send for DefaultMutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DefaultMutex<T> {}

impl<T: Send> ktrace_engine::Mutex<T> for DefaultMutex<T> {
    fn new(name: &'static CStr, value: T) -> Self {
        // SAFETY: an all-zero struct mtx is valid, and mtx_init(9) accepts it.
        let mutex = Box::new(UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));
        // SAFETY: the mutex is boxed, so it does not move until it is destroyed. The name is
        // static.
        unsafe { sys::ktrace_rs_mtx_init(mutex.get(), name.as_ptr()) };
        DefaultMutex { mutex, value: UnsafeCell::new(value) }
    }

    #[inline(always)]
    fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        let mutex = self.mutex.get();
        // SAFETY: new() initialised the mutex. panic_if_held() ensures that the current thread does
        // not hold it. Platform forbids the call under a spin lock and in an interrupt filter.
        unsafe {
            panic_if_held((&raw mut (*mutex).mtx_lock).cast(), sys::MTX_FLAGMASK);
            mtx_lock(mutex);
        }
        // SAFETY: the lock was taken above.
        unsafe { self.locked(critical) }
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: new() initialised the mutex. Platform forbids the call under a spin lock and in
        // an interrupt filter.
        if !unsafe { mtx_trylock(self.mutex.get()) } {
            return None;
        }
        // SAFETY: the lock was taken above.
        Some(unsafe { self.locked(critical) })
    }
}

impl<T> DefaultMutex<T> {
    /// Runs `critical`, then releases the mutex.
    ///
    /// # Safety
    ///
    /// The current thread has just taken the mutex.
    #[inline(always)]
    unsafe fn locked<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the mutex is held, and was not recursed on. `critical` cannot get a second
        // reference: with() panics, and try_with() fails.
        let result = critical(unsafe { &mut *self.value.get() });
        // SAFETY: the current thread has taken the mutex, as the caller guarantees.
        unsafe { mtx_unlock(self.mutex.get()) };
        result
    }
}

impl<T> Drop for DefaultMutex<T> {
    fn drop(&mut self) {
        // SAFETY: new() initialised the mutex, and nobody else uses it any more.
        unsafe { sys::ktrace_rs_mtx_destroy(self.mutex.get()) };
    }
}

/// An sx lock and the value that it protects. The lock is boxed, so that it never moves.
pub(crate) struct SxLock<T> {
    sx: Box<UnsafeCell<sys::sx>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is accessed only with the lock held exclusively.
unsafe impl<T: Send> Send for SxLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SxLock<T> {}

impl<T: Send> ktrace_engine::SleepLock<T, MaySleep> for SxLock<T> {
    fn new(value: T) -> Self {
        // SAFETY: an all-zero struct sx is valid, and sx_init(9) accepts it.
        let sx = Box::new(UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));
        // SAFETY: the lock is boxed, so it does not move until it is destroyed. The name is static.
        unsafe { sys::ktrace_rs_sx_init(sx.get(), c"ktrace_rs commit".as_ptr()) };
        SxLock { sx, value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> R {
        let sx = self.sx.get();
        // SAFETY: new() initialised the lock. panic_if_held() ensures that the current thread does
        // not hold it. The caller may sleep.
        unsafe {
            // The word of a shared lock contains no owner. SX_LOCK_SHARED keeps it from matching a
            // thread.
            panic_if_held((&raw mut (*sx).sx_lock).cast(), sys::SX_LOCK_FLAGMASK & !sys::SX_LOCK_SHARED);
            sx_xlock(sx);
        }
        // SAFETY: the lock was taken above.
        unsafe { self.locked(critical) }
    }

    fn try_with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: new() initialised the lock.
        if !unsafe { sys::ktrace_rs_sx_try_xlock(self.sx.get()) } {
            return None;
        }
        // SAFETY: the lock was taken above.
        Some(unsafe { self.locked(critical) })
    }
}

impl<T> SxLock<T> {
    /// Runs `critical`, then releases the lock.
    ///
    /// # Safety
    ///
    /// The current thread has just taken the lock.
    unsafe fn locked<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the lock is held, and was not recursed on. `critical` cannot get a second
        // reference: with() panics, and try_with() fails.
        let result = critical(unsafe { &mut *self.value.get() });
        // SAFETY: the current thread has taken the lock, as the caller guarantees.
        unsafe { sx_xunlock(self.sx.get()) };
        result
    }
}

impl<T> Drop for SxLock<T> {
    fn drop(&mut self) {
        // SAFETY: new() initialised the lock, and nobody else uses it any more.
        unsafe { sys::ktrace_rs_sx_destroy(self.sx.get()) };
    }
}

/// One of the kernel's own sx locks, held shared.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct SxShared(*mut sys::sx);

impl SxShared {
    /// Takes `allproc_lock`: see [`AllProc`](super::proc::AllProc). May sleep.
    pub(super) fn allproc(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::allproc_lock)
    }

    /// Takes `proctree_lock`: see [`ProcTree`](super::proc::ProcTree). May sleep.
    pub(super) fn proctree(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::proctree_lock)
    }

    /// Takes `modules_sx` (`MOD_SLOCK`). While it is held, no module is added or removed. May
    /// sleep.
    pub(crate) fn modules(_: MaySleep) -> Self {
        SxShared::lock(&raw mut sys::modules_sx)
    }

    fn lock(sx: *mut sys::sx) -> Self {
        // SAFETY: the kernel keeps this lock for ever. The constructors require MaySleep.
        unsafe { sys::ktrace_rs_sx_slock(sx) };
        SxShared(sx)
    }
}

impl Drop for SxShared {
    fn drop(&mut self) {
        // SAFETY: lock() took the lock, in this thread: the value is not Send.
        unsafe { sys::ktrace_rs_sx_sunlock(self.0) };
    }
}
