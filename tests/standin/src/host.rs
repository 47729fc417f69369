//! The stand-in's base on the host: a lock that disables interrupts, futexes, and the report of
//! violations.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::sched;
use crate::thread::Kt;

/// The configuration of the stand-in.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The number of CPUs.
    pub cpus: usize,
    /// Whether one thread runs at a time, selected by the seed, with a clock of the stand-in's own.
    pub deterministic: bool,
    /// The seed of all random numbers.
    pub seed: u64,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// Sets the configuration. Called once, before anything else.
pub fn configure(config: Config) {
    CONFIG.set(config).expect("the stand-in is configured once");
}

/// Returns the configuration.
pub fn config() -> &'static Config {
    CONFIG.get().expect("the stand-in is configured first")
}

thread_local! {
    static CURRENT: Cell<Option<&'static Kt>> = const { Cell::new(None) };
}

/// Returns the stand-in thread that this host thread is. A host thread that only helps is none.
pub(crate) fn current_opt() -> Option<&'static Kt> {
    CURRENT.get()
}

/// Returns the stand-in thread that this host thread is. Panics in a host thread that only helps.
#[track_caller]
pub(crate) fn current() -> &'static Kt {
    current_opt().expect("a thread of the stand-in")
}

/// Makes this host thread a thread of the stand-in.
pub(crate) fn become_thread(kt: &'static Kt) {
    CURRENT.set(Some(kt));
}

/// The type of a signal's handler.
pub(crate) type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// Installs the handler of a signal of the host, with flags of sigaction(2).
///
/// # Safety
///
/// The handler may run wherever the signal comes.
pub(crate) unsafe fn handle(signal: i32, handler: Handler, flags: i32) {
    // SAFETY: the handler has the type that SA_SIGINFO requires, and may run (see # Safety).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0, "sigaction");
    }
}

/// Disables interrupts: rendezvous and preemption wait. Calls nest.
pub(crate) fn interrupts_off() {
    if let Some(kt) = current_opt() {
        kt.interrupts_off.set(kt.interrupts_off.get() + 1);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

/// Ends [`interrupts_off`]. An interrupt that came meanwhile is handled now.
pub(crate) fn interrupts_on() {
    if let Some(kt) = current_opt() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        kt.interrupts_off.set(kt.interrupts_off.get() - 1);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        if kt.interrupts_off.get() == 0 && kt.interrupted.load(Ordering::SeqCst) {
            sched::interrupt_now(kt);
        }
    }
}

/// A lock of the stand-in's own. It is held for a few instructions, with interrupts off. The module
/// therefore never waits for such a lock of a stopped thread.
pub(crate) struct HostLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and there is one guard at a time.
unsafe impl<T: Send> Sync for HostLock<T> {}

impl<T> HostLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        HostLock { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    pub(crate) fn lock(&self) -> HostGuard<'_, T> {
        let mut spins = 0_u32;
        loop {
            interrupts_off();
            if !self.locked.swap(true, Ordering::Acquire) {
                return HostGuard { lock: self };
            }
            interrupts_on();
            spins += 1;
            if spins.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Takes the lock as [`HostLock::lock`] does, but gives up after a while. Used by reports,
    /// whose thread may hold the lock itself.
    pub(crate) fn try_lock(&self) -> Option<HostGuard<'_, T>> {
        for _ in 0..1000 {
            interrupts_off();
            if !self.locked.swap(true, Ordering::Acquire) {
                return Some(HostGuard { lock: self });
            }
            interrupts_on();
            std::thread::yield_now();
        }
        None
    }
}

/// A guard: the [`HostLock`] is held while it exists.
pub(crate) struct HostGuard<'a, T> {
    lock: &'a HostLock<T>,
}

impl<T> Deref for HostGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for HostGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for HostGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
        interrupts_on();
    }
}

/// Waits while the word is `value`, for at most `nanoseconds`. Returns false if the time is over.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, nanoseconds: Option<u64>) -> bool {
    let time = nanoseconds.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            value,
            time,
        )
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes all threads that wait for the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is only an address here.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX)
    };
}

/// The checks of the stand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A lock order reversal, or a second lock of one class.
    LockOrder,
    /// A lock taken by its holder.
    Recursion,
    /// The use of a lock that is not initialised, not held, or held in the wrong mode.
    LockUse,
    /// A sleep, or a possible sleep, with a mutex held or where sleeping is not allowed.
    Sleep,
    /// A return from a function of the module with a lock held, or still inside the tracer.
    Return,
    /// A resource that the module has not returned.
    Leak,
    /// The use of memory that was freed, or never allocated.
    Memory,
    /// A difference in the kernel's text, or in a function called there.
    Text,
    /// A trace file that does not hold the records that were made.
    Record,
    /// A call of a kernel function with an argument that it does not accept.
    Call,
    /// A lack of progress in all threads.
    Hang,
    /// A panic of the module.
    Panic,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::LockOrder => "lock order",
            Check::Recursion => "recursion",
            Check::LockUse => "lock use",
            Check::Sleep => "sleep",
            Check::Return => "return",
            Check::Leak => "leak",
            Check::Memory => "memory",
            Check::Text => "text",
            Check::Record => "record",
            Check::Call => "call",
            Check::Hang => "hang",
            Check::Panic => "panic",
        })
    }
}

/// The exit status of a run in which a check failed.
pub const FAILED: i32 = 3;

/// Reports a violation, with the seed, and ends the run.
pub fn fail(check: Check, what: fmt::Arguments<'_>) -> ! {
    static FIRST: AtomicBool = AtomicBool::new(true);
    if FIRST.swap(false, Ordering::SeqCst) {
        let config = config();
        let mut text = format!("standin: {check}: {what}\n");
        if let Some(kt) = current_opt() {
            text.push_str(&format!("standin: in {}\n", kt.describe()));
        }
        let how = if config.deterministic { " --deterministic" } else { "" };
        text.push_str(&format!("standin: seed {}: again with --seed {}{how}\n", config.seed, config.seed));
        say(text.as_bytes());
        // SAFETY: _exit(2) ends the process, whatever other threads do.
        unsafe { libc::_exit(FAILED) };
    }
    loop {
        std::thread::yield_now();
    }
}

/// Writes to standard error, without taking any lock.
pub(crate) fn say(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: the pointer and the length are those of the text.
        let written = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => text = &text[written..],
            _ => return,
        }
    }
}

/// Calls [`fail`] with a formatted message.
macro_rules! violation {
    ($check:ident, $($text:tt)*) => {
        $crate::host::fail($crate::host::Check::$check, format_args!($($text)*))
    };
}
pub(crate) use violation;
