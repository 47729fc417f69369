//! A kernel process for the tests of the switch only. It is inside a redirected function while the
//! module is loaded and unloaded.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use kernel_sys as sys;
use ktrace_engine::Errno;

use crate::kernel::context::MaySleep;
use crate::kernel::kproc::Worker;
use crate::kernel::log;
use crate::kernel::text::find_symbol;
use crate::machine;
use crate::takeover::pause;

/// Number of attempts to switch that must find the process parked.
const WHILE_PARKED: u32 = 20;
/// Number of calls before the process lets others run.
const CALLS: u32 = 1000;
/// `PRI_USER` of sys/priority.h.
const PRI_USER: i32 = -2;

/// The address of the function, which does nothing with a null argument.
static FUNCTION: AtomicUsize = AtomicUsize::new(0);
/// True once the process is parked, also afterwards.
static ARRIVED: AtomicBool = AtomicBool::new(false);
/// True while the process must stay parked.
static PARKED: AtomicBool = AtomicBool::new(false);
/// True if the process must end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Number of attempts that found a thread inside, since the last report.
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// The process. It is first parked with an address inside the function on its stack, as if it had
/// been interrupted there. After that it calls the function again and again.
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

    /// Prints how often `what` was refused.
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

/// Counts an attempt that found a thread inside. Ends the parking after [`WHILE_PARKED`] of them.
pub(crate) fn note_refusal() {
    if REFUSALS.fetch_add(1, Ordering::Relaxed) + 1 >= WHILE_PARKED {
        PARKED.store(false, Ordering::SeqCst);
    }
}

fn run(_: MaySleep) -> Option<u32> {
    let function = FUNCTION.load(Ordering::Relaxed);
    // SAFETY: the flags are read and written whole.
    unsafe { machine::park(function.wrapping_add(2), ARRIVED.as_ptr(), PARKED.as_ptr()) };
    // SAFETY: the address is that of ktr_io_params_free(), which has this type.
    let free: unsafe extern "C" fn(*mut sys::ktr_io_params) = unsafe { core::mem::transmute(function) };
    while !STOP.load(Ordering::Relaxed) {
        for _ in 0..CALLS {
            // SAFETY: a null argument leaves nothing to free.
            unsafe { free(core::ptr::null_mut()) };
        }
        // SAFETY: nothing is locked.
        unsafe { sys::kern_yield(PRI_USER) };
    }
    None
}
