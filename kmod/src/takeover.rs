//! Redirecting the stock backend's functions to this module, and giving them back.
//!
//! Both happen with every CPU stopped, all functions at once or none: the kernel never
//! runs with a mix of both backends. The switch waits for a moment when no thread is
//! inside the backend that is left.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use kernel_sys as sys;
use ktrace_engine::{Counter as _, Errno};

use crate::entry::{Entry, all_entries, is_uncounted};
use crate::kernel::context::MaySleep;
use crate::kernel::counter::CpuCounter;
use crate::kernel::lock::SxShared;
use crate::kernel::log;
use crate::kernel::proc::{Proc, all_processes};
use crate::kernel::stop::{Addresses, Stacks, Stopped, stop_machine};
use crate::kernel::text::{Function, Place};
use crate::kernel::underway::Underway;
use crate::machine::{JUMP_LEN, MEETS_PROBES_OF, Opening};
use crate::platform::Trace;
use crate::syscalls::stop_all_tracing;

/// How often a switch is tried, and the pause between, in units of 2^-32 s: ten
/// milliseconds, so that all takes some seconds at the most.
const TRIES: u32 = 500;
const PAUSE: i64 = (1 << 32) / 100;

/// Most pids that a message names.
const PIDS: usize = 16;

const EBUSY: Errno = Errno(sys::EBUSY.cast_signed());
const EOPNOTSUPP: Errno = Errno(sys::EOPNOTSUPP.cast_signed());

/// A function that is, or is to be, redirected.
struct Redirect {
    function: Function,
    place: Place,
    stock: [u8; JUMP_LEN],
    jump: [u8; JUMP_LEN],
}

impl Redirect {
    fn prepare(entry: &Entry, function: Function) -> Result<Redirect, Errno> {
        let name = entry.stock.to_str().unwrap_or_default();
        let Some(redirect) = Redirect::of(function, entry) else {
            let opening = function.opening::<8>().unwrap_or_default();
            log::print(format_args!(
                "{name} begins with {opening:02x?}, not as compiled: another tool (fbt of dtrace?) \
                 redirects it; stop that and load again"
            ));
            return Err(EBUSY);
        };
        if !redirect.place.is_writable() {
            log::print(format_args!("{name} cannot be overwritten: this kernel keeps its own ktrace"));
            return Err(EOPNOTSUPP);
        }
        Ok(redirect)
    }

    /// The redirection of a function that begins as the compiler has it begin.
    fn of(function: Function, entry: &Entry) -> Option<Redirect> {
        let opening = Opening::of(&function.opening()?)?;
        let place = function.place(opening.kept())?;
        let stock = place.read();
        let jump = opening.jump(place.address(), stock, entry.code as usize)?;
        Some(Redirect { function, place, stock, jump })
    }
}

/// Looks up what an entry replaces, or prints that it is not there.
fn find(entry: &'static Entry) -> Result<(&'static Entry, Function), Errno> {
    let function = Function::find(entry.stock).ok_or_else(|| {
        let name = entry.stock.to_str().unwrap_or_default();
        log::print(format_args!("this kernel has no {name}: use one built with options KTRACE"));
        EOPNOTSUPP
    })?;
    Ok((entry, function))
}

/// The stock functions and their redirections.
pub(crate) struct TakeOver {
    redirects: Vec<Redirect>,
}

impl TakeOver {
    /// Looks the stock functions up; or prints what is wrong with them, and returns
    ///
    /// - `EOPNOTSUPP` if the kernel has none (options KTRACE), or none that can be overwritten;
    /// - `EBUSY` if something else redirects them already, or may have probes in what a jump would overwrite.
    ///
    /// May sleep.
    pub(crate) fn prepare(may_sleep: MaySleep) -> Result<TakeOver, Errno> {
        if let Some(name) = MEETS_PROBES_OF.iter().find(|name| is_loaded(may_sleep, name)) {
            let name = name.to_str().unwrap_or_default();
            log::print(format_args!(
                "{name} of dtrace is loaded, and may have its probes where this module writes: \
                 kldunload {name}, load this first, and {name} then"
            ));
            return Err(EBUSY);
        }
        let functions = all_entries().map(find).collect::<Result<Vec<_>, _>>()?;
        // What is too short, and leads to another one that is not, stays as it is.
        let jumps = |address| {
            functions
                .iter()
                .any(|(_, function)| function.address() == address && function.goes_on().is_none())
        };
        let redirected = functions.iter().filter(|(_, function)| !function.goes_on().is_some_and(jumps));
        let redirects = redirected
            .map(|(entry, function)| Redirect::prepare(entry, *function))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(TakeOver { redirects })
    }

    /// Replaces the stock backend; or changes nothing, prints why, and returns `EBUSY` if a
    /// process is traced, or threads do not leave the stock functions.
    pub(crate) fn install(&self, may_sleep: MaySleep) -> Result<(), Errno> {
        let mut stacks = Stacks::new(may_sleep);
        for _ in 0..TRIES {
            let mut pids = Pids::default();
            let done = {
                let _allproc = SxShared::allproc(may_sleep);
                stop_machine(&mut stacks, |stopped| {
                    for p in stopped.processes().filter(|p| p.traceflag() != 0 || p.has_trace()) {
                        pids.push(p.pid());
                    }
                    if pids.is_empty() && !self.stock_is_in_use(stopped) {
                        for redirect in &self.redirects {
                            // SAFETY: every CPU is stopped and serialises; no thread is inside
                            // the function.
                            unsafe { redirect.place.write(redirect.jump) };
                        }
                        return true;
                    }
                    false
                })
            };
            if done {
                return Ok(());
            }
            if !pids.is_empty() {
                log::print(format_args!(
                    "cannot take over: {pids} traced; end that with ktrace -C or ktrace -c and load again"
                ));
                return Err(EBUSY);
            }
            #[cfg(feature = "test-park")]
            crate::park::note_refusal();
            pause();
        }
        log::print(format_args!("cannot take over: threads are inside the stock backend; try again later"));
        Err(EBUSY)
    }

    /// Whether a thread is inside the stock backend, or has left it something to do.
    ///
    /// The stock functions lie side by side, with the static ones among them. What they do in
    /// `TDP_INKTRACE` they may do in a function that lies behind, or that was jumped to, so that
    /// no return address tells.
    fn stock_is_in_use(&self, stopped: &Stopped<'_>) -> bool {
        let start = self.redirects.iter().map(|redirect| redirect.function.inside().start).min();
        let end = self.redirects.iter().map(|redirect| redirect.function.inside().end).max();
        let stock = start.unwrap_or(0)..end.unwrap_or(0);
        stopped.processes().any(Proc::has_stock_records)
            || stopped.threads().any(|thread| {
                thread.is_in_ktrace()
                    || match thread.addresses() {
                        Addresses::None => false,
                        Addresses::Unknown => true,
                        Addresses::Returns(mut frames) => frames.any(|address| stock.contains(&address)),
                        Addresses::Words(mut words) => words.any(|address| stock.contains(&address)),
                    }
            })
    }

    /// Gives the stock backend back, once no thread is inside the module any more or about to
    /// call it, and returns the traces that processes still had, which nobody uses now.
    ///
    /// No new trace must begin, and the handler for ast(9) be deregistered. `EBUSY`, with
    /// nothing changed but that all tracing has ended, if threads do not leave.
    pub(crate) fn remove(&self, may_sleep: MaySleep, inside: &CpuCounter) -> Result<Vec<Arc<Trace>>, Errno> {
        let mut stacks = Stacks::new(may_sleep);
        let mut traces = Vec::new();
        let mut underway = None;
        for _ in 0..TRIES {
            // A ktrace(2) or fork(2) that had begun before may have begun another trace.
            if stop_all_tracing(may_sleep) {
                underway = None;
            }
            let underway = &*underway.get_or_insert_with(|| Underway::note(may_sleep));
            underway.switch_from(may_sleep);
            // Not under the lock: who has to free memory may need the list. Some more for those that are born meanwhile.
            let count = {
                let _allproc = SxShared::allproc(may_sleep);
                // SAFETY: the list of processes is locked.
                unsafe { all_processes() }.count()
            };
            traces.reserve(count.saturating_add(count / 4).saturating_add(16));
            let done = {
                let _allproc = SxShared::allproc(may_sleep);
                stop_machine(&mut stacks, |stopped| {
                    let traced = stopped.processes().any(|p| p.traceflag() != 0);
                    let overwritten =
                        self.redirects.iter().any(|redirect| redirect.place.read() != redirect.jump);
                    if traced
                        || overwritten
                        || stopped.processes().count() > traces.capacity()
                        || inside.fetch() != 0
                        || self.module_is_in_use(stopped)
                        || underway.is_left(stopped)
                    {
                        return false;
                    }
                    for redirect in &self.redirects {
                        // SAFETY: every CPU is stopped and serialises; no thread is inside a
                        // jump.
                        unsafe { redirect.place.write(redirect.stock) };
                    }
                    for p in stopped.processes() {
                        // SAFETY: nothing else runs, and no thread is inside the module.
                        if let Some(trace) = unsafe { p.take_trace() } {
                            // There is room for one of each process: this does not allocate.
                            traces.push(trace);
                        }
                    }
                    true
                })
            };
            if done {
                return Ok(traces);
            }
            #[cfg(feature = "test-park")]
            crate::park::note_refusal();
            pause();
        }
        log::print(format_args!("cannot unload: threads are inside the module; try again later"));
        Err(EBUSY)
    }

    /// Whether a thread was interrupted in a jump or in an entry, where the count misses it. Threads that
    /// wait are counted.
    fn module_is_in_use(&self, stopped: &Stopped<'_>) -> bool {
        stopped.threads().any(|thread| match thread.addresses() {
            Addresses::None | Addresses::Unknown | Addresses::Returns(_) => false,
            Addresses::Words(mut words) => words.any(|address| {
                is_uncounted(address)
                    || self.redirects.iter().any(|redirect| redirect.place.inside().contains(&address))
            }),
        })
    }
}

/// Whether the kernel has a module. May sleep.
fn is_loaded(may_sleep: MaySleep, name: &CStr) -> bool {
    let _modules = SxShared::modules(may_sleep);
    // SAFETY: the list of modules is locked.
    !unsafe { sys::module_lookupbyname(name.as_ptr()) }.is_null()
}

/// Lets other threads run for a while.
pub(crate) fn pause() {
    // SAFETY: called by the functions above, which may sleep.
    unsafe { sys::pause_sbt(c"ktrswch".as_ptr(), PAUSE, 0, 0) };
}

/// Some pids for a message, and how many there are in all. Does not allocate.
#[derive(Default)]
pub(crate) struct Pids {
    first: [i32; PIDS],
    count: usize,
}

impl Pids {
    pub(crate) fn push(&mut self, pid: i32) {
        if let Some(slot) = self.first.get_mut(self.count) {
            *slot = pid;
        }
        self.count = self.count.saturating_add(1);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl core::fmt::Display for Pids {
    /// `pid 7 is`, or `pids 7, 8, 9 are`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.count == 1 { "pid" } else { "pids" })?;
        for (index, pid) in self.first.iter().take(self.count).enumerate() {
            write!(f, "{}{pid}", if index == 0 { " " } else { ", " })?;
        }
        match (self.count, self.count.saturating_sub(PIDS)) {
            (1, _) => f.write_str(" is"),
            (_, 0) => f.write_str(" are"),
            (_, more) => write!(f, " and {more} more are"),
        }
    }
}
