//! For the tests of the switch only: while the module is loaded and unloaded, a kernel process is
//! inside a function that is redirected.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use kernel_sys as sys;
use ktrace_engine::Errno;

use crate::kernel::context::MaySleep;
use crate::kernel::kproc::Worker;
use crate::kernel::log;
use crate::kernel::text::find_symbol;
use crate::machine;
use crate::takeover::pause;

/// How many attempts to switch must find the process parked.
const WHILE_PARKED: u32 = 20;
/// Calls until the process lets others run.
const CALLS: u32 = 1000;
/// `PRI_USER` of sys/priority.h.
const PRI_USER: i32 = -2;

/// Where the function is: it does nothing with a null argument.
static FUNCTION: AtomicUsize = AtomicUsize::new(0);
/// The process is parked, or has been.
static ARRIVED: AtomicBool = AtomicBool::new(false);
/// The process does not move.
static PARKED: AtomicBool = AtomicBool::new(false);
/// It is to end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Attempts that found a thread inside, since the last report.
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// The process: first parked, with an address inside the function on its stack, as if it had
/// been interrupted there; then it calls the function again and again.
pub(crate) struct Parked {
    _worker: Worker,
}

impl Parked {
    pub(crate) fn start(may_sleep: MaySleep) -> Result<Self, Errno> {
        let function = find_symbol(c"ktr_io_params_free").unwrap_or(0);
        FUNCTION.store(function, Ordering::Relaxed);
        REFUSALS.store(0, Ordering::Relaxed);
        STOP.store(false, Ordering::Relaxed);
        ARRIVED.store(false, Ordering::Relaxed);
        PARKED.store(true, Ordering::SeqCst);
        let worker = Worker::start(may_sleep, c"ktrace_rs_park", run)?;
        while !ARRIVED.load(Ordering::Acquire) {
            pause(may_sleep);
        }
        Ok(Parked { _worker: worker })
    }

    /// Prints how many attempts `what` took.
    pub(crate) fn report(&self, what: &str) {
        let missed = PARKED.swap(false, Ordering::SeqCst);
        let refusals = REFUSALS.swap(0, Ordering::Relaxed);
        log::print(format_args!(
            "parked: {what} refused {refusals} times{}",
            if missed { ", MISSED" } else { "" }
        ));
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        PARKED.store(false, Ordering::Relaxed);
        STOP.store(true, Ordering::Relaxed);
    }
}

/// An attempt found a thread inside.
pub(crate) fn note_refusal() {
    if REFUSALS.fetch_add(1, Ordering::Relaxed) + 1 >= WHILE_PARKED {
        PARKED.store(false, Ordering::SeqCst);
    }
}

fn run(_: MaySleep) -> Option<u32> {
    let function = FUNCTION.load(Ordering::Relaxed);
    // SAFETY: flags that are read and written whole.
    unsafe { machine::park(function.wrapping_add(2), ARRIVED.as_ptr(), PARKED.as_ptr()) };
    // SAFETY: the function's address and type.
    let free: unsafe extern "C" fn(*mut sys::ktr_io_params) = unsafe { core::mem::transmute(function) };
    while !STOP.load(Ordering::Relaxed) {
        for _ in 0..CALLS {
            // SAFETY: there is nothing to free.
            unsafe { free(core::ptr::null_mut()) };
        }
        // SAFETY: nothing is locked.
        unsafe { sys::kern_yield(PRI_USER) };
    }
    None
}
