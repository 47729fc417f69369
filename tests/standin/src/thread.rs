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

/// A thread of the stand-in. It stays for good, so that whoever looks at one that has exited finds one, as in a
/// kernel, where these are never given back.
#[repr(C)]
pub struct Kt {
    /// First, so that the address of one is that of the other.
    td: UnsafeCell<sys::thread>,
    pcb: UnsafeCell<sys::pcb>,
    /// One when the thread has a CPU: what it waits for.
    pub(crate) go: AtomicU32,
    /// The CPU; -1 without one.
    pub(crate) cpu: AtomicI32,
    /// Interrupts are off, so many times. Its own.
    pub(crate) interrupts_off: Cell<u32>,
    /// An interrupt came meanwhile.
    pub(crate) interrupted: AtomicBool,
    /// Others should run now.
    pub(crate) resched: AtomicBool,
    /// Sleeping is not allowed, so many times. Its own.
    pub(crate) no_sleep: Cell<u32>,
    /// Locks that it holds. Its own, but for reports.
    pub(crate) held: UnsafeCell<Vec<Held>>,
    /// What it sleeps on; zero if it does not. Guarded by the scheduler's lock.
    pub(crate) channel: AtomicUsize,
    /// Its sleep has ended because time was over. As above.
    pub(crate) timed_out: AtomicBool,
    /// When its sleep ends; as above.
    pub(crate) timer: Cell<Option<(u64, u64)>>,
    /// The host's number of it.
    pub(crate) host_tid: AtomicI32,
    /// Where kproc_exit(9) goes back to.
    pub(crate) escape: Cell<usize>,
    /// What it has made.
    pub(crate) ledger: Mutex<Ledger>,
    /// What its stack has for the time at which it went to sleep. Its own.
    pub(crate) slept_at: Cell<sys::timespec>,
    /// Choices of its own.
    pub(crate) rng: UnsafeCell<fastrand::Rng>,
}

// SAFETY: what is not atomic or locked is used by the thread itself, or under the scheduler's lock; the structures
// that the module sees are shared as in a kernel.
unsafe impl Sync for Kt {}
// SAFETY: as above.
unsafe impl Send for Kt {}

/// How many there are.
static THREADS: AtomicI32 = AtomicI32::new(0);
/// All of them.
static ALL: HostLock<Vec<&'static Kt>> = HostLock::new(Vec::new());

/// All threads that there ever were.
pub(crate) fn all() -> Vec<&'static Kt> {
    ALL.lock().clone()
}

impl Kt {
    /// A thread of a process, which does not run yet.
    pub(crate) fn new(p: &'static Kp, name: &str) -> &'static Kt {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: all zero is a struct thread and a struct pcb that nobody has used.
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
        // SAFETY: nobody else has the thread yet.
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

    /// The thread of a `struct thread`.
    ///
    /// # Safety
    ///
    /// `td` is one of a [`Kt`].
    pub(crate) unsafe fn of(td: *mut sys::thread) -> &'static Kt {
        // SAFETY: the caller's; threads stay for good.
        unsafe { &*td.cast::<Kt>() }
    }

    /// Its `struct thread`.
    pub fn as_ptr(&self) -> *mut sys::thread {
        self.td.get()
    }

    pub(crate) fn pcb(&self) -> *mut sys::pcb {
        self.pcb.get()
    }

    /// Its process.
    pub fn proc(&self) -> &'static Kp {
        // SAFETY: a thread's process does not change, and stays for good.
        unsafe { Kp::of((*self.as_ptr()).td_proc) }
    }

    /// Its number.
    pub fn tid(&self) -> i32 {
        // SAFETY: it does not change.
        unsafe { (*self.as_ptr()).td_tid }
    }

    /// What it is, for reports.
    pub(crate) fn describe(&self) -> String {
        // SAFETY: read as it is, for a report.
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

    /// Sets bits of `td_ast`.
    pub(crate) fn schedule_ast(&self, bit: u32) {
        self.ast().fetch_or(1 << bit, Ordering::SeqCst);
    }

    /// `td_ast`.
    pub(crate) fn ast(&self) -> &AtomicI32 {
        // SAFETY: the field stays; all of the stand-in uses it atomically.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.as_ptr()).td_ast) }
    }

    /// Whether the thread is inside the tracer.
    pub(crate) fn is_in_ktrace(&self) -> bool {
        // SAFETY: the thread's own flags.
        unsafe { (*self.as_ptr()).td_pflags.cast_unsigned() & sys::TDP_INKTRACE != 0 }
    }

    /// A number below `end`. The thread's own.
    pub(crate) fn random(&self, end: u64) -> u64 {
        // SAFETY: only the thread itself asks.
        unsafe { (*self.rng.get()).u64(0..end.max(1)) }
    }
}

/// Copies a name into an array with a NUL behind.
pub(crate) fn copy_name(name: &str, out: &mut [c_char; 20]) {
    *out = [0; 20];
    for (to, from) in out.iter_mut().take(19).zip(name.bytes()) {
        *to = from as c_char;
    }
}

/// Starts the host thread of a thread, which runs `body` once it has a CPU, and then leaves the kernel.
pub(crate) fn start(kt: &'static Kt, body: Box<dyn FnOnce() + Send>) {
    let builder = std::thread::Builder::new().stack_size(192 * 1024);
    let run = move || {
        note_stack(kt);
        become_thread(kt);
        // SAFETY: only asks.
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

/// Notes where the stack of this host thread is.
pub(crate) fn note_stack(kt: &Kt) {
    let (mut base, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: out parameters of the right types; the thread is this one, which has not run yet.
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

/// Runs a function of the module that may not come back but with [`escape`].
///
/// # Safety
///
/// `function` may be called with `argument`.
pub(crate) unsafe fn call_escapable(function: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: the caller's; the word stays.
    unsafe { call_saving(function, argument, current().escape.as_ptr()) }
}

/// Goes back to [`call_escapable`].
pub(crate) fn escape() -> ! {
    // SAFETY: call_escapable() is below on this stack.
    unsafe { return_saved(current().escape.get()) }
}

/// A string of the module, for reports and names.
///
/// # Safety
///
/// `text` is null or a string.
pub(crate) unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
