//! Kernel processes of the module (kproc(9)).

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

/// A function that a worker runs each time it wakes. It returns the milliseconds that the worker
/// may sleep then, or `None` to sleep until woken.
pub(crate) type Work = fn(MaySleep) -> Option<u32>;

/// A kernel process that runs its work whenever it is woken or has slept for long enough. It does
/// so at most once per millisecond.
///
/// Dropping it waits until the process has exited. May sleep.
pub(crate) struct Worker {
    shared: Box<Shared>,
    process: *mut sys::proc_,
}

// SAFETY: the process pointer is only compared and slept on, never dereferenced. `Shared` consists
// of a mutex, atomics and a constant.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

struct Shared {
    /// Orders a wakeup against the beginning of a sleep. Last in the lock order.
    mutex: UnsafeCell<sys::mtx>,
    /// Whether work may be pending that the worker has not noticed yet.
    woken: AtomicBool,
    /// Whether the worker must exit. Protected by the mutex.
    stop: AtomicBool,
    work: Work,
}

impl Worker {
    /// Starts a process named `name`. Returns the errno of kproc_create(9) if that fails. May
    /// sleep.
    pub(crate) fn start(_: MaySleep, name: &'static CStr, work: Work) -> Result<Self, Errno> {
        let shared = Box::new(Shared {
            // SAFETY: an all-zero struct mtx is valid, and mtx_init(9) accepts it.
            mutex: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            woken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            work,
        });
        let mut process = core::ptr::null_mut();
        let arg = (&raw const *shared).cast_mut().cast();
        // SAFETY: the mutex is boxed, so it does not move until drop() destroys it. By then the
        // process, which uses `shared`, has exited. The format takes one string.
        let error = unsafe {
            sys::ktrace_rs_mtx_init(shared.mutex.get(), c"ktrace_rs worker".as_ptr());
            sys::kproc_create(Some(main), arg, &raw mut process, 0, 0, c"%s".as_ptr(), name.as_ptr())
        };
        if error == 0 {
            return Ok(Worker { shared, process });
        }
        // SAFETY: the mutex was initialised above, and no process was created that could use it.
        unsafe { sys::ktrace_rs_mtx_destroy(shared.mutex.get()) };
        Err(Errno(error))
    }

    /// Returns whether the worker is the current process.
    pub(crate) fn is_current(&self) -> bool {
        CurrentThread::get().proc().as_ptr() == self.process
    }

    /// Wakes the worker, so that it runs its work. May be called with default mutexes held. Takes
    /// the worker's lock.
    pub(crate) fn wake(&self) {
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            self.shared.locked(|shared| shared.wakeup());
        }
    }
}

impl Shared {
    fn locked<R>(&self, critical: impl FnOnce(&Self) -> R) -> R {
        // SAFETY: start() initialised the mutex. No `critical` takes it again, so the current
        // thread does not hold it. wake() may be called with default mutexes held, but no spin
        // lock.
        unsafe { mtx_lock(self.mutex.get()) };
        let result = critical(self);
        // SAFETY: the mutex was taken above.
        unsafe { mtx_unlock(self.mutex.get()) };
        result
    }

    /// Ends the worker's sleep. The mutex must be held.
    fn wakeup(&self) {
        // SAFETY: wakeup(9) accepts any address as a channel.
        unsafe { sys::wakeup((&raw const *self).cast()) };
    }

    /// Sleeps on `channel` until wakeup(9), or for `milliseconds` at the most. The mutex must be
    /// held, and is released during the sleep.
    fn sleep(&self, channel: *const c_void, milliseconds: Option<u32>) {
        // To msleep_sbt(9), a time of zero means for ever.
        let time = milliseconds.map_or(0, |ms| i64::from(ms.max(1)).saturating_mul(MILLISECOND));
        // SAFETY: the mutex is held, and the caller may sleep.
        unsafe { sys::ktrace_rs_mtx_sleep(channel, self.mutex.get(), c"ktrhelp".as_ptr(), time) };
    }
}

/// Runs the work of a worker, as its process, until the worker must exit.
///
/// # Safety
///
/// kproc_create(9) calls this with a [`Shared`] that stays until the process has exited.
unsafe extern "C" fn main(arg: *mut c_void) {
    // SAFETY: the caller guarantees that `arg` is a Shared that stays. A new kernel process holds
    // no lock, so it may sleep.
    let (shared, may_sleep) = unsafe { (&*arg.cast::<Shared>(), MaySleep::new()) };
    loop {
        // Cleared before the work, so that a wakeup during the work leads to another round.
        shared.woken.store(false, Ordering::SeqCst);
        let pause = (shared.work)(may_sleep);
        let stop = shared.locked(|shared| {
            // Frequent wakeups must not keep a CPU busy. No wakeup(9) ends this sleep.
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
    // SAFETY: the process holds no lock. kproc_exit(9) wakes the thread that waits in drop(), and
    // does not return.
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
        // SAFETY: start() initialised the mutex. The process has exited, so nobody uses it any
        // more.
        unsafe { sys::ktrace_rs_mtx_destroy(self.shared.mutex.get()) };
    }
}
