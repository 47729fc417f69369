//! Threads: each is a thread of the host, with a `struct thread` that the module sees.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::clock;
use crate::host::{HostLock, become_thread, current};
use crate::ledger::Ledger;
use crate::low::PAGE;
use crate::machine::{call_saving, return_saved};
use crate::proc::Kp;
use crate::sched;
use crate::witness::Held;

/// A thread of the stand-in. It is never freed, as in a kernel, where `struct thread` is
/// type-stable. A thread that has exited can therefore still be read.
#[repr(C)]
pub struct Kt {
    /// The `struct thread`. First, so that both have the same address.
    td: UnsafeCell<sys::thread>,
    pcb: UnsafeCell<sys::pcb>,
    /// The futex that the thread waits on. One while the thread has a CPU.
    pub(crate) go: AtomicU32,
    /// The CPU, or -1 without one.
    pub(crate) cpu: AtomicI32,
    /// The nesting depth of disabled interrupts. Used by the thread itself.
    pub(crate) interrupts_off: Cell<u32>,
    /// Whether an interrupt came while they were disabled.
    pub(crate) interrupted: AtomicBool,
    /// Whether another thread should run now.
    pub(crate) resched: AtomicBool,
    /// The nesting depth of sections where sleeping is not allowed. Used by the thread itself.
    pub(crate) no_sleep: Cell<u32>,
    /// The locks that it holds. Used by the thread itself, and by reports.
    pub(crate) held: UnsafeCell<Vec<Held>>,
    /// The channel that it sleeps on, or zero. Guarded by the scheduler's lock.
    pub(crate) channel: AtomicUsize,
    /// Whether its last sleep has timed out. Guarded by the scheduler's lock.
    pub(crate) timed_out: AtomicBool,
    /// The key of its timer while it sleeps. Guarded by the scheduler's lock.
    pub(crate) timer: Cell<Option<(u64, u64)>>,
    /// The host's thread ID.
    pub(crate) host_tid: AtomicI32,
    /// The stack pointer that kproc_exit(9) returns to.
    pub(crate) escape: Cell<usize>,
    /// The records that it has made.
    pub(crate) ledger: Mutex<Ledger>,
    /// The time at which it went to sleep, as its stack holds it. Used by the thread itself.
    pub(crate) slept_at: Cell<sys::timespec>,
    /// Its own random numbers.
    pub(crate) rng: UnsafeCell<fastrand::Rng>,
}

// SAFETY: fields that are neither atomic nor locked are used by the thread itself, or under the
// scheduler's lock. The structures that the module sees are shared as in a kernel.
unsafe impl Sync for Kt {}
// SAFETY: as for Sync.
unsafe impl Send for Kt {}

/// The number of threads created so far.
static THREADS: AtomicI32 = AtomicI32::new(0);
/// All threads.
static ALL: HostLock<Vec<&'static Kt>> = HostLock::new(Vec::new());

/// Returns all threads ever created.
pub(crate) fn all() -> Vec<&'static Kt> {
    ALL.lock().clone()
}

impl Kt {
    /// Creates a thread of a process. It does not run yet.
    pub(crate) fn new(p: &'static Kp, name: &str) -> &'static Kt {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: an all-zero struct thread and struct pcb are valid and unused.
        let (td, pcb) = unsafe { (std::mem::zeroed::<sys::thread>(), std::mem::zeroed()) };
        let seed = crate::host::config().seed ^ (u64::from(number.cast_unsigned()) << 32);
        let kt = Box::leak(Box::new(Kt {
            td: UnsafeCell::new(td),
            pcb: UnsafeCell::new(pcb),
            go: AtomicU32::new(0),
            cpu: AtomicI32::new(-1),
            interrupts_off: Cell::new(0),
            interrupted: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            no_sleep: Cell::new(0),
            held: UnsafeCell::new(Vec::new()),
            channel: AtomicUsize::new(0),
            timed_out: AtomicBool::new(false),
            timer: Cell::new(None),
            host_tid: AtomicI32::new(0),
            escape: Cell::new(0),
            slept_at: Cell::new(clock::junk()),
            ledger: Mutex::new(Ledger::default()),
            rng: UnsafeCell::new(fastrand::Rng::with_seed(seed)),
        }));
        // SAFETY: no other thread has this one yet.
        unsafe {
            let td = &mut *kt.td.get();
            td.td_proc = p.as_ptr();
            td.td_tid = 100_000 + number;
            td.td_ucred = (*p.as_ptr()).p_ucred;
            td.td_pcb = kt.pcb.get();
            td.td_state = sys::TDS_INACTIVE;
            td.td_oncpu = sys::NOCPU;
            copy_name(name, &mut td.td_name);
        }
        ALL.lock().push(kt);
        kt
    }

    /// Returns the thread that a `struct thread` belongs to.
    ///
    /// # Safety
    ///
    /// `td` points to the `struct thread` of a [`Kt`].
    pub(crate) unsafe fn of(td: *mut sys::thread) -> &'static Kt {
        // SAFETY: `td` belongs to a Kt (see # Safety), and threads are never freed.
        unsafe { &*td.cast::<Kt>() }
    }

    /// Returns its `struct thread`.
    pub fn as_ptr(&self) -> *mut sys::thread {
        self.td.get()
    }

    pub(crate) fn pcb(&self) -> *mut sys::pcb {
        self.pcb.get()
    }

    /// Returns its process.
    pub fn proc(&self) -> &'static Kp {
        // SAFETY: a thread's process does not change, and processes are never freed.
        unsafe { Kp::of((*self.as_ptr()).td_proc) }
    }

    /// Returns the thread ID.
    pub fn tid(&self) -> i32 {
        // SAFETY: the field does not change.
        unsafe { (*self.as_ptr()).td_tid }
    }

    /// Describes the thread for reports.
    pub(crate) fn describe(&self) -> String {
        // SAFETY: the fields are read as they stand, for a report.
        let (wmesg, held, state) = unsafe {
            let td = &*self.as_ptr();
            (td.td_wmesg, (*self.held.get()).clone(), td.td_state)
        };
        let mut text = format!("pid {} tid {} ({})", self.proc().pid(), self.tid(), self.proc().comm());
        if state == sys::TDS_INHIBITED && !wmesg.is_null() {
            // SAFETY: wait messages are static strings of the module or of the stand-in.
            text.push_str(&format!(" waits for \"{}\"", unsafe { CStr::from_ptr(wmesg) }.to_string_lossy()));
        }
        for held in held {
            text.push_str(&format!(", has {held}"));
        }
        text
    }

    /// Sets a bit of `td_ast`.
    pub(crate) fn schedule_ast(&self, bit: u32) {
        self.ast().fetch_or(1 << bit, Ordering::SeqCst);
    }

    /// Returns `td_ast`.
    pub(crate) fn ast(&self) -> &AtomicI32 {
        // SAFETY: threads are never freed, and all of the stand-in uses the field atomically.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.as_ptr()).td_ast) }
    }

    /// Returns whether the thread is inside the tracer.
    pub(crate) fn is_in_ktrace(&self) -> bool {
        // SAFETY: only the thread itself changes these flags.
        unsafe { (*self.as_ptr()).td_pflags.cast_unsigned() & sys::TDP_INKTRACE != 0 }
    }

    /// Returns a random number below `end`. Only the thread itself may call this.
    pub(crate) fn random(&self, end: u64) -> u64 {
        // SAFETY: only the thread itself uses its random numbers.
        unsafe { (*self.rng.get()).u64(0..end.max(1)) }
    }
}

/// Copies a name into an array, followed by a NUL.
pub(crate) fn copy_name(name: &str, out: &mut [c_char; 20]) {
    *out = [0; 20];
    for (to, from) in out.iter_mut().take(19).zip(name.bytes()) {
        *to = from as c_char;
    }
}

/// Starts the host thread of a thread. It runs `body` once it has a CPU, and then leaves the
/// kernel.
pub(crate) fn start(kt: &'static Kt, body: Box<dyn FnOnce() + Send>) {
    let builder = std::thread::Builder::new().stack_size(192 * 1024);
    let run = move || {
        note_stack(kt);
        become_thread(kt);
        // SAFETY: gettid() has no preconditions.
        kt.host_tid.store(unsafe { libc::gettid() }, Ordering::SeqCst);
        sched::wait_for_cpu(kt);
        body();
        crate::proc::thread_exit();
    };
    if let Err(error) = builder.spawn(run) {
        crate::host::violation!(Hang, "no thread of the host: {error}");
    }
    while kt.host_tid.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    sched::make_runnable(kt);
}

/// Records the bounds of this host thread's stack in the `struct thread`.
pub(crate) fn note_stack(kt: &Kt) {
    let (mut base, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the out parameters have the right types. The thread is this one, and no other thread
    // reads the fields before it runs.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0, "own attributes");
        assert_eq!(libc::pthread_attr_getstack(&raw const attributes, &raw mut base, &raw mut size), 0);
        libc::pthread_attr_destroy(&raw mut attributes);
        let td = &mut *kt.as_ptr();
        td.td_kstack = base as usize as _;
        td.td_kstack_pages = (size / PAGE) as _;
    }
}

/// Calls a function of the module that may return only through [`escape`].
///
/// # Safety
///
/// `function` may be called with `argument`.
pub(crate) unsafe fn call_escapable(function: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: the function may be called (see # Safety); the word for the stack pointer is never
    // freed.
    unsafe { call_saving(function, argument, current().escape.as_ptr()) }
}

/// Returns to [`call_escapable`].
pub(crate) fn escape() -> ! {
    // SAFETY: call_escapable() is below on this stack.
    unsafe { return_saved(current().escape.get()) }
}

/// Returns a string of the module, for reports and names.
///
/// # Safety
///
/// `text` is null or a NUL-terminated string.
pub(crate) unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: `text` is a NUL-terminated string (see # Safety).
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
