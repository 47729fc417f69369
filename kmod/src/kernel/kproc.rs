//! kproc(9): a kernel process of the module's own.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_sys as sys;
use ktrace_engine::Errno;

use super::context::MaySleep;
use super::lock::{mtx_lock, mtx_unlock};
use super::proc::CurrentThread;

/// A millisecond in units of 2^-32 s (`sbintime_t`).
const MILLISECOND: i64 = (1 << 32) / 1000;

/// What a worker does each time it wakes; returns for how many milliseconds it may sleep then,
/// or `None` for until it is woken.
pub(crate) type Work = fn(MaySleep) -> Option<u32>;

/// A kernel process that works whenever it is woken, or has slept for long enough; at most once in a millisecond.
///
/// Dropping it waits until it is gone. May sleep.
pub(crate) struct Worker {
    shared: Box<Shared>,
    process: *mut sys::proc_,
}

// SAFETY: the pointer is an address to sleep on only.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

struct Shared {
    /// Orders the end of a sleep with its beginning; last of all locks.
    mutex: UnsafeCell<sys::mtx>,
    /// There is something to do, and the worker may not know it yet.
    woken: AtomicBool,
    /// The worker is to end. Guarded by the mutex.
    stop: AtomicBool,
    work: Work,
}

impl Worker {
    /// Starts a process named `name`; an errno of kproc_create(9) if there can be none. May
    /// sleep.
    pub(crate) fn start(_: MaySleep, name: &'static CStr, work: Work) -> Result<Self, Errno> {
        let shared = Box::new(Shared {
            // SAFETY: all zero is a struct mtx that mtx_init(9) accepts.
            mutex: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            woken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            work,
        });
        let mut process = core::ptr::null_mut();
        let arg = (&raw const *shared).cast_mut().cast();
        // SAFETY: the mutex stays where it is until drop() destroys it, when the process, which
        // uses what is shared, is gone; the format asks for one string.
        let error = unsafe {
            sys::ktrace_rs_mtx_init(shared.mutex.get(), c"ktrace_rs worker".as_ptr());
            sys::kproc_create(Some(main), arg, &raw mut process, 0, 0, c"%s".as_ptr(), name.as_ptr())
        };
        if error == 0 {
            return Ok(Worker { shared, process });
        }
        // SAFETY: initialised above, and nobody else has it.
        unsafe { sys::ktrace_rs_mtx_destroy(shared.mutex.get()) };
        Err(Errno(error))
    }

    /// Whether it is the current process.
    pub(crate) fn is_current(&self) -> bool {
        CurrentThread::get().proc().as_ptr() == self.process
    }

    /// Has the worker work. May be called with default mutexes held; takes the worker's.
    pub(crate) fn wake(&self) {
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            self.shared.locked(|shared| shared.wakeup());
        }
    }
}

impl Shared {
    fn locked<R>(&self, critical: impl FnOnce(&Self) -> R) -> R {
        // SAFETY: the mutex was initialised by start().
        unsafe { mtx_lock(self.mutex.get()) };
        let result = critical(self);
        // SAFETY: taken above.
        unsafe { mtx_unlock(self.mutex.get()) };
        result
    }

    /// Ends the worker's sleep. The mutex is held.
    fn wakeup(&self) {
        // SAFETY: any address will do.
        unsafe { sys::wakeup((&raw const *self).cast()) };
    }

    /// Sleeps on `channel`, for as many milliseconds or until wakeup(9). The mutex is held, and
    /// released meanwhile.
    fn sleep(&self, channel: *const c_void, milliseconds: Option<u32>) {
        // No time at all means for ever.
        let time = milliseconds.map_or(0, |ms| i64::from(ms.max(1)).saturating_mul(MILLISECOND));
        // SAFETY: the mutex is held, and the caller may sleep.
        unsafe { sys::ktrace_rs_mtx_sleep(channel, self.mutex.get(), c"ktrhelp".as_ptr(), time) };
    }
}

/// The process.
///
/// # Safety
///
/// Called by kproc_create(9) with a [`Shared`] that stays until the process is gone.
unsafe extern "C" fn main(arg: *mut c_void) {
    // SAFETY: the caller's; a kernel process holds no lock when it begins.
    let (shared, may_sleep) = unsafe { (&*arg.cast::<Shared>(), MaySleep::new()) };
    loop {
        // Before the work: whoever wakes it from now on has it look again.
        shared.woken.store(false, Ordering::SeqCst);
        let pause = (shared.work)(may_sleep);
        let stop = shared.locked(|shared| {
            // Whoever wakes it again and again does not have it take a CPU. Nobody wakes this sleep.
            shared.sleep((&raw const shared.stop).cast(), Some(1));
            if !shared.woken.load(Ordering::Acquire) && !shared.stop.load(Ordering::Relaxed) {
                shared.sleep(arg, pause);
            }
            shared.stop.load(Ordering::Relaxed)
        });
        if stop {
            break;
        }
    }
    // SAFETY: the process holds no lock. It wakes whoever waits in drop(), and does not return.
    unsafe { sys::kproc_exit(0) };
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.locked(|shared| {
            shared.stop.store(true, Ordering::Relaxed);
            shared.wakeup();
            // The process cannot get past the mutex before this thread sleeps, so the wakeup of
            // kproc_exit(9) is not missed. After that it does not run the module's code.
            shared.sleep(self.process.cast(), None);
        });
        // SAFETY: initialised by start(), and nobody uses it any more.
        unsafe { sys::ktrace_rs_mtx_destroy(self.shared.mutex.get()) };
    }
}
