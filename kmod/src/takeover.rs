//! Redirection of the stock backend's functions to this module, and their restoration.
//!
//! Each switch happens with every CPU stopped, and changes all functions or none. The kernel
//! therefore never runs with a mix of both backends. A switch waits until no thread is inside the
//! backend that is being replaced.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::Range;

use kernel_sys as sys;
use ktrace_engine::{Counter as _, Errno};

use crate::entry::{EXIT_HANDLER, Entry, all_entries, uncounted};
use crate::helper;
use crate::kernel::context::MaySleep;
use crate::kernel::counter::CpuCounter;
use crate::kernel::event;
use crate::kernel::lock::SxShared;
use crate::kernel::log;
use crate::kernel::proc::{AllProc, Proc};
use crate::kernel::stop::{Addresses, Stacks, Stopped, stop_machine};
use crate::kernel::tables::{ast_handler, ktrace_calls};
use crate::kernel::text::{Function, Patch, Symbol, each_function, find_symbol};
use crate::kernel::vnode::is_left_open;
use crate::machine::{self, DETOUR_MAX, ISLAND_MAX, MEETS_PROBES_OF, Unfit};
use crate::module::forget_engine;
use crate::platform::{Engine, File, Trace};
use crate::syscalls::stop_all_tracing;

/// The number of attempts to switch, and the pause between two. The pause is ten milliseconds, in
/// units of 2^-32 s, so that all attempts take a few seconds at most.
const TRIES: u32 = 500;
const PAUSE: i64 = (1 << 32) / 100;

/// Maximum number of pids that a message names.
const PIDS: usize = 16;

/// Bytes at the beginning of a function that its own jump may take. The jump may stand behind a
/// landing instruction and the first instruction of the frame.
const ISLANDS: usize = DETOUR_MAX + 8;

const EBUSY: Errno = Errno(sys::EBUSY.cast_signed());
const EOPNOTSUPP: Errno = Errno(sys::EOPNOTSUPP.cast_signed());

/// Global functions that belong to no ktrace backend, although their names or addresses suggest it.
/// ktr(9) has one.
const HARMLESS: [&CStr; 1] = [c"ktr_tracepoint"];

/// A function of the backend, and its replacement.
struct Target {
    entry: &'static Entry,
    function: Function,
}

impl Target {
    /// Looks up the functions of the backend that this kernel has. Prints the name of a missing
    /// one.
    #[inline(never)]
    fn find_all() -> Result<Vec<Target>, Errno> {
        let found = |entry: &'static Entry| {
            let function = Function::find(entry.stock);
            if function.is_none() && !entry.is_optional {
                log::print(format_args!(
                    "this kernel has no {}: use one built with options KTRACE",
                    entry.name()
                ));
                return Some(Err(EOPNOTSUPP));
            }
            function.map(|function| Ok(Target { entry, function }))
        };
        all_entries().filter_map(found).collect()
    }

    /// Plans the detour, with its island in `host` at `islands`, which is advanced past it. Prints
    /// the reason if no detour is possible.
    #[inline(never)]
    fn patch(
        &self,
        backend: &Range<usize>,
        host: &Function,
        islands: &mut usize,
        patches: &mut Vec<Patch>,
    ) -> Result<(), Errno> {
        let name = self.entry.name();
        let has_room = islands.checked_add(ISLAND_MAX).is_some_and(|end| end <= host.end());
        let island = has_room.then_some(*islands);
        let unfit = |unfit| {
            let opening = self.function.opening();
            match unfit {
                Unfit::Patched => {
                    log::print(format_args!(
                        "another tool (dtrace?) has patched {name}, which begins with {opening:02x?}: \
                         stop that and load again"
                    ));
                    EBUSY
                }
                Unfit::TooShort => {
                    log::print(format_args!(
                        "{name}, which begins with {opening:02x?}, is too short for a jump: \
                         use a version of this module for this kernel"
                    ));
                    EOPNOTSUPP
                }
            }
        };
        let detour = machine::detour(&self.function.site(backend, island), self.entry.code as usize);
        let detour = detour.map_err(unfit)?;
        let planned = patches.len();
        let jump = self.function.jump(detour.offset, detour.jump);
        patches.push(jump.ok_or_else(|| unfit(Unfit::TooShort))?);
        if let (Some(code), Some(island)) = (detour.island, island) {
            patches.push(host.island(island, code).ok_or_else(|| unfit(Unfit::TooShort))?);
            *islands = islands.saturating_add(ISLAND_MAX);
        }
        if patches.iter().skip(planned).all(Patch::is_writable) {
            return Ok(());
        }
        log::print(format_args!("{name} cannot be overwritten: this kernel keeps its own ktrace"));
        Err(EOPNOTSUPP)
    }
}

/// Refuses a backend with a global function that is not among `targets`, and prints its name: the
/// module would replace only a part of that backend. May sleep.
///
/// `kern_ktrace.c` is compiled to one stretch of text. A function that other files call is within
/// `backend`, or its name begins with `ktr`, like those of sys/ktrace.h.
#[inline(never)]
fn refuse_unknown(may_sleep: MaySleep, targets: &[Target], backend: &Range<usize>) -> Result<(), Errno> {
    each_function(may_sleep, |name, address| {
        let belongs = name.to_bytes().starts_with(b"ktr") || backend.contains(&address);
        let is_known =
            || HARMLESS.contains(&name) || targets.iter().any(|target| target.function.address() == address);
        // Only the backend itself calls its static functions.
        if !belongs || is_known() || Symbol::at(address).is_some_and(|symbol| symbol.is_static) {
            return Ok(());
        }
        log::print(format_args!(
            "{} is part of this kernel's ktrace, and unknown to this version of the module: use a newer one",
            name.to_str().unwrap_or("a function")
        ));
        Err(EOPNOTSUPP)
    })
}

/// Refuses a kernel in which a system call or a handler of ast(9) is not the backend's, and prints
/// its name. May sleep.
#[inline(never)]
fn refuse_replaced(may_sleep: MaySleep, targets: &[Target]) -> Result<(), Errno> {
    let refuse = |what: &str| {
        log::print(format_args!("another module has replaced {what}: unload that and load again"));
        Err(EBUSY)
    };
    let is_targets = |name: &CStr, address| {
        targets.iter().any(|target| target.entry.stock == name && target.function.address() == address)
    };
    if let Some(call) = ktrace_calls(may_sleep).find(|call| !is_targets(call.function, call.address)) {
        return refuse(call.name);
    }
    if ast_handler(may_sleep, sys::TDA_MOD1).is_some_and(|handler| handler != 0) {
        log::print(format_args!(
            "another module handles TDA_MOD1 of ast(9), which this one needs: unload that and load again"
        ));
        return Err(EBUSY);
    }
    match ast_handler(may_sleep, sys::TDA_KTRACE) {
        Some(handler) if find_symbol(c"ast_ktrace") != Some(handler) => {
            refuse("the handler for TDA_KTRACE of ast(9)")
        }
        _ => Ok(()),
    }
}

/// The stock functions and their redirections.
pub(crate) struct TakeOver {
    /// The functions of the stock backend, which are adjacent, with static ones among them.
    backend: Range<usize>,
    /// The addresses of the redirected functions.
    begins: Vec<usize>,
    patches: Vec<Patch>,
}

impl TakeOver {
    /// Looks up the stock functions. If they are unsuitable, prints the reason and returns
    ///
    /// - `EOPNOTSUPP` if the kernel has none (options KTRACE), has one that the module does not
    ///   know, or one that cannot be overwritten;
    /// - `EBUSY` if another tool or module redirects them already, handles `TDA_MOD1` of ast(9), or
    ///   may have probes in the bytes that a jump would overwrite.
    ///
    /// May sleep.
    #[inline(never)]
    pub(crate) fn prepare(may_sleep: MaySleep) -> Result<TakeOver, Errno> {
        if let Some(name) = MEETS_PROBES_OF.iter().find(|name| is_loaded(may_sleep, name)) {
            let name = name.to_str().unwrap_or_default();
            log::print(format_args!(
                "{name} of dtrace is loaded, and may have its probes where this module writes: \
                 kldunload {name}, load this first, and {name} then"
            ));
            return Err(EBUSY);
        }
        let targets = Target::find_all()?;
        let functions = || targets.iter().map(|target| &target.function);
        let start = functions().map(Function::address).min().unwrap_or(0);
        let backend = start..functions().map(Function::end).max().unwrap_or(0);
        refuse_unknown(may_sleep, &targets, &backend)?;
        // All code of a redirected function behind its beginning is dead. The longest one has room
        // for islands.
        let Some(host) = functions().max_by_key(|function| function.end() - function.address()) else {
            return Err(EOPNOTSUPP);
        };
        let mut islands = host.address().saturating_add(ISLANDS);
        let mut patches = Vec::new();
        for target in &targets {
            target.patch(&backend, host, &mut islands, &mut patches)?;
        }
        refuse_replaced(may_sleep, &targets)?;
        let begins = functions().map(Function::address).collect();
        Ok(TakeOver { backend, begins, patches })
    }

    /// Replaces the stock backend. If a process is traced, or threads do not leave the stock
    /// functions, changes nothing, prints the reason, and returns `EBUSY`. May sleep.
    pub(crate) fn install(&self, may_sleep: MaySleep) -> Result<(), Errno> {
        let mut stacks = Stacks::new(may_sleep);
        for _ in 0..TRIES {
            let mut pids = Pids::default();
            let done = {
                let _allproc = AllProc::lock(may_sleep);
                stop_machine(&mut stacks, |stopped| {
                    for p in stopped.processes().filter(|p| p.traceflag() != 0 || p.has_trace()) {
                        pids.push(p.pid());
                    }
                    // Another tool may have patched a function since prepare().
                    let stock = self.patches.iter().all(Patch::is_stock);
                    if pids.is_empty() && stock && !self.stock_is_in_use(stopped) {
                        for patch in &self.patches {
                            // SAFETY: every CPU is stopped and serialises; no thread is inside the
                            // function; prepare() has checked that it can be overwritten.
                            unsafe { patch.write() };
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
            pause(may_sleep);
        }
        log::print(format_args!("cannot take over: threads are inside the stock backend; try again later"));
        Err(EBUSY)
    }

    /// Returns whether a thread is inside the stock backend, or has queued a record for it.
    ///
    /// A thread with `TDP_INKTRACE` counts as inside. It may be in a function elsewhere, or in one
    /// that was entered by a jump, so that no return address shows it.
    fn stock_is_in_use(&self, stopped: &Stopped<'_>) -> bool {
        // A thread at the first instruction has not begun the function. A pointer to that
        // instruction is no sign of a thread inside.
        let is_inside = |address| self.backend.contains(&address) && !self.begins.contains(&address);
        stopped.processes().any(Proc::has_stock_records)
            || stopped.threads().any(|thread| {
                thread.is_in_ktrace()
                    || match thread.addresses() {
                        Addresses::None => false,
                        Addresses::Unknown => true,
                        Addresses::Returns(mut frames) => frames.any(is_inside),
                        Addresses::Words(mut words) => words.any(is_inside),
                    }
            })
    }

    /// Restores the stock backend, once no thread is inside the module. Returns the traces that
    /// processes still had, which no thread uses any more.
    ///
    /// A thread may be between a trace point's check of `p_traceflag` and its call. The stock
    /// function checks again, under its own mutex, and makes no record of a process that is not
    /// traced.
    ///
    /// The caller prevents new traces, and has deregistered the handlers for ast(9) and
    /// eventhandler(9). Returns `EBUSY` if threads do not leave, or files cannot be written. All
    /// tracing has ended then, but nothing else has changed. The helper writes and closes the
    /// files: the linker is locked here, and must not hang with a disk. May sleep.
    pub(crate) fn remove(
        &self,
        may_sleep: MaySleep,
        inside: &CpuCounter,
        engine: &Engine,
    ) -> Result<Vec<Arc<Trace>>, Errno> {
        let mut ended: Vec<(Weak<File>, Arc<[u8]>)> = Vec::new();
        let is_settled =
            || engine.stats.queued.fetch() == 0 && engine.stats.files.fetch() == 0 && !is_left_open();
        let mut stacks = Stacks::new(may_sleep);
        let mut traces = Vec::new();
        for _ in 0..TRIES {
            // A ktrace(2) or fork(2) that was in progress may have begun another trace.
            let give =
                |file: &Arc<File>| ended.push((Arc::downgrade(file), Arc::clone(file.storage().name())));
            stop_all_tracing(may_sleep, engine, give);
            helper::wake();
            // Not allocated under the lock: a thread that frees memory may need the list. The spare
            // room is for processes created meanwhile.
            let count = {
                let allproc = AllProc::lock(may_sleep);
                allproc.processes().count()
            };
            traces.reserve(count.saturating_add(count / 4).saturating_add(16));
            // If no thread is about to call the handler now, none will later.
            let done = !event::may_be_called(EXIT_HANDLER) && {
                let _allproc = AllProc::lock(may_sleep);
                stop_machine(&mut stacks, |stopped| {
                    let traced = stopped.processes().any(|p| p.traceflag() != 0);
                    let overwritten = !self.patches.iter().all(Patch::stands);
                    if traced
                        || overwritten
                        || stopped.processes().count() > traces.capacity()
                        || inside.fetch() != 0
                        || !is_settled()
                        || self.module_is_in_use(stopped)
                    {
                        return false;
                    }
                    for patch in &self.patches {
                        // SAFETY: every CPU is stopped and serialises; no thread is inside the
                        // patch, which install() has written.
                        unsafe { patch.restore() };
                    }
                    for p in stopped.processes() {
                        // SAFETY: nothing else runs, and no thread is inside the module.
                        if let Some(trace) = unsafe { p.take_trace() } {
                            // `traces` has room for the trace of each process: this does not
                            // allocate.
                            traces.push(trace);
                        }
                    }
                    forget_engine();
                    true
                })
            };
            if done {
                return Ok(traces);
            }
            #[cfg(feature = "test-park")]
            crate::park::note_refusal();
            pause(may_sleep);
        }
        if is_settled() {
            log::print(format_args!("cannot unload: threads are inside the module; try again later"));
            return Err(EBUSY);
        }
        let open = ended.iter().find(|(file, name)| file.strong_count() != 0 && !name.is_empty());
        let name = open.map_or(b"a trace file".as_slice(), |(_, name)| name);
        log::print(format_args!(
            "cannot unload: {} is not written yet; try again later",
            name.escape_ascii()
        ));
        Err(EBUSY)
    }

    /// Returns whether a thread was interrupted in a jump or in an entry, where the count misses
    /// it. Waiting threads are counted.
    fn module_is_in_use(&self, stopped: &Stopped<'_>) -> bool {
        let is_uncounted = uncounted();
        let in_patch = |address| {
            self.backend.contains(&address)
                && self.patches.iter().any(|patch| patch.inside().contains(&address))
        };
        stopped.threads().any(|thread| match thread.addresses() {
            Addresses::None | Addresses::Unknown | Addresses::Returns(_) => false,
            Addresses::Words(mut words) => words.any(|address| in_patch(address) || is_uncounted(address)),
        })
    }
}

/// Returns whether the kernel has the module `name`. May sleep.
fn is_loaded(may_sleep: MaySleep, name: &CStr) -> bool {
    let _modules = SxShared::modules(may_sleep);
    // SAFETY: the list of modules is locked.
    !unsafe { sys::module_lookupbyname(name.as_ptr()) }.is_null()
}

/// Lets other threads run for a while. May sleep.
pub(crate) fn pause(_: MaySleep) {
    // SAFETY: the caller may sleep.
    unsafe { sys::pause_sbt(c"ktrswch".as_ptr(), PAUSE, 0, 0) };
}

/// Some pids for a message, and the number of all of them. Does not allocate.
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
    /// Writes `pid 7 is`, or `pids 7, 8, 9 are`.
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
