//! What the stand-in is made of on the host: a lock with interrupts off, futexes, and the report of what is wrong.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::sched;
use crate::thread::Kt;

/// How the stand-in runs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// CPUs.
    pub cpus: usize,
    /// One thread at a time, the next one chosen by the seed; and a clock of its own.
    pub deterministic: bool,
    /// What everything that is random is made of.
    pub seed: u64,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// Sets how the stand-in runs: once, before anything else.
pub fn configure(config: Config) {
    CONFIG.set(config).expect("the stand-in is configured once");
}

/// How the stand-in runs.
pub fn config() -> &'static Config {
    CONFIG.get().expect("the stand-in is configured first")
}

thread_local! {
    static CURRENT: Cell<Option<&'static Kt>> = const { Cell::new(None) };
}

/// The thread of the stand-in that this host thread is; none of those that only help.
pub(crate) fn current_opt() -> Option<&'static Kt> {
    CURRENT.get()
}

/// The thread of the stand-in that this host thread is.
#[track_caller]
pub(crate) fn current() -> &'static Kt {
    current_opt().expect("a thread of the stand-in")
}

/// Makes this host thread a thread of the stand-in.
pub(crate) fn become_thread(kt: &'static Kt) {
    CURRENT.set(Some(kt));
}

/// Interrupts off: rendezvous and preemption wait. Nests.
pub(crate) fn interrupts_off() {
    if let Some(kt) = current_opt() {
        kt.interrupts_off.set(kt.interrupts_off.get() + 1);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

/// Ends [`interrupts_off`]; what came meanwhile comes now.
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

/// A lock of the stand-in's own, held for a few instructions with interrupts off: no module ever waits for
/// one that a stopped thread has.
pub(crate) struct HostLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, of which there is one at a time.
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

    /// As [`HostLock::lock`], for who reports what is wrong and may have the lock itself.
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

/// A [`HostLock`] that is held.
pub(crate) struct HostGuard<'a, T> {
    lock: &'a HostLock<T>,
}

impl<T> Deref for HostGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for HostGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and self is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for HostGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
        interrupts_on();
    }
}

/// Waits while the word is `value`, at most for as many nanoseconds; whether it was woken.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, nanoseconds: Option<u64>) -> bool {
    let time = nanoseconds.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time stay while this waits.
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

/// Wakes who waits for the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is only an address here.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX)
    };
}

/// What the stand-in checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Two locks are taken in both orders, or a sleepable one under one that is not.
    LockOrder,
    /// A thread takes a lock that it has.
    Recursion,
    /// A lock is used that is not initialised, not held, or not held as it should be.
    LockUse,
    /// A thread sleeps, or might, with a mutex held, or where it must not.
    Sleep,
    /// A thread comes back from a function of the module with a lock, or still inside the tracer.
    Return,
    /// Something that the module took is not given back.
    Leak,
    /// Memory that was freed, or never given out, is used.
    Memory,
    /// The text of the kernel, or what is called there, is not what it should be.
    Text,
    /// A trace file does not hold what was made.
    Record,
    /// A function of the kernel is called with what it does not take.
    Call,
    /// Nothing goes on.
    Hang,
    /// The module panics.
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

/// The status of a run in which a check failed.
pub const FAILED: i32 = 3;

/// Reports what is wrong, with the seed, and ends the run.
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
        // SAFETY: ends the process, whatever other threads do.
        unsafe { libc::_exit(FAILED) };
    }
    loop {
        std::thread::yield_now();
    }
}

/// Writes to standard error whatever locks others have.
pub(crate) fn say(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: the text is as long as that.
        let written = unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => text = &text[written..],
            _ => return,
        }
    }
}

/// [`fail`], formatted.
macro_rules! violation {
    ($check:ident, $($text:tt)*) => {
        $crate::host::fail($crate::host::Check::$check, format_args!($($text)*))
    };
}
pub(crate) use violation;
