//! Loading and unloading (module(9)).

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::sync::Arc;
use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use kernel_sys as sys;
use ktrace_engine::{Counter as _, Errno};

use crate::entry::{AST_HANDLER, EXIT_HANDLER, count_with, counted};
use crate::helper::{self, Helper};
use crate::kernel::context::MaySleep;
use crate::kernel::counter::CpuCounter;
use crate::kernel::event::ExitHandler;
use crate::kernel::log;
use crate::kernel::memory;
use crate::kernel::proc::AllProc;
use crate::kernel::sdt;
use crate::platform::Engine;
use crate::release::OLDEST;
use crate::settings;
use crate::sysctls::Sysctls;
use crate::takeover::{Pids, TakeOver};

/// The module's version, as `kern.ktrace_rs.version` has it.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

/// `__FreeBSD_version` of the headers that the module was built with.
const TARGET: u32 = sys::KTRACE_RS_TARGET;

/// A major release in units of `__FreeBSD_version`.
const MAJOR: u32 = 100_000;

const EBUSY: Errno = Errno(sys::EBUSY.cast_signed());
const ENOEXEC: Errno = Errno(sys::ENOEXEC.cast_signed());
const EOPNOTSUPP: Errno = Errno(sys::EOPNOTSUPP.cast_signed());

/// The loaded module; null before it is loaded and after.
static LOADED: AtomicPtr<Loaded> = AtomicPtr::new(core::ptr::null_mut());

/// What all traces share; null where no new trace may begin.
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(core::ptr::null_mut());

/// The module is about to leave: no process passes its trace on to a child.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// What all traces share; `None` while the module is leaving.
pub(crate) fn engine() -> Option<Arc<Engine>> {
    if is_leaving() {
        return None;
    }
    let engine = ENGINE.load(Ordering::Acquire);
    if engine.is_null() {
        return None;
    }
    // SAFETY: the pointer is to the engine of the loaded module, which stays until no thread
    // is inside it any more.
    unsafe {
        Arc::increment_strong_count(engine);
        Some(Arc::from_raw(engine))
    }
}

/// Runs `work`, which looks at what hangs on processes, with the thread counted as one inside the module;
/// `None`, and it is not run, where that may be the stock backend's: before this one has taken over, and from
/// when it is about to leave.
pub(crate) fn with_engine<R>(work: impl FnOnce(&Engine) -> R) -> Option<R> {
    counted(|| engine().map(|engine| work(&engine)))
}

/// As [`with_engine`], but until the stock backend is back: for those who write what is left.
pub(crate) fn with_engine_to_the_end<R>(work: impl FnOnce(&Engine) -> R) -> Option<R> {
    counted(|| {
        // SAFETY: the engine of the loaded module, which stays until no thread is inside it any more.
        unsafe { ENGINE.load(Ordering::Acquire).as_ref() }.map(work)
    })
}

/// Has the engine found by nobody any more, as the stock backend is back.
pub(crate) fn forget_engine() {
    ENGINE.store(core::ptr::null_mut(), Ordering::Release);
}

/// Whether the module is about to leave.
pub(crate) fn is_leaving() -> bool {
    LEAVING.load(Ordering::Acquire)
}

/// The handler of module(9): called one event at a time; may sleep.
///
/// # Safety
///
/// Called by the kernel's linker.
#[unsafe(no_mangle)]
unsafe extern "C" fn ktrace_rs_modevent(_: *mut sys::module, what: c_int, _: *mut c_void) -> c_int {
    // SAFETY: the linker may sleep.
    let may_sleep = unsafe { MaySleep::new() };
    let result = match what.cast_unsigned() {
        sys::MOD_LOAD => load(may_sleep),
        sys::MOD_QUIESCE => quiesce(may_sleep),
        sys::MOD_UNLOAD => unload(may_sleep),
        sys::MOD_SHUTDOWN => Ok(()),
        _ => Err(EOPNOTSUPP),
    };
    match result {
        Ok(()) => 0,
        Err(Errno(errno)) => errno,
    }
}

/// Everything that there is while the module is loaded, in the order in which it goes.
struct Loaded {
    take_over: TakeOver,
    ast_handler: Option<AstHandler>,
    exit_handler: Option<ExitHandler>,
    #[cfg(feature = "test-park")]
    parked: crate::park::Parked,
    _sysctls: Sysctls,
    _helper: Helper,
    inside: CpuCounter,
    engine: Arc<Engine>,
}

fn load(may_sleep: MaySleep) -> Result<(), Errno> {
    check_release()?;
    memory::register(may_sleep);
    take_over(may_sleep).inspect_err(|_| memory::deregister(may_sleep))
}

fn take_over(may_sleep: MaySleep) -> Result<(), Errno> {
    sdt::init();
    if !settings::find() {
        log::print(format_args!("this kernel has no ktrace: use one built with options KTRACE"));
        return Err(EOPNOTSUPP);
    }
    let take_over = TakeOver::prepare(may_sleep)?;
    let engine = Arc::new(Engine::new());
    let inside = CpuCounter::new();
    count_with(&inside);
    let helper = Helper::start(may_sleep).inspect_err(|errno| {
        log::print(format_args!("no process for the helper (errno {}): load again", errno.0));
    })?;
    let sysctls = Sysctls::register(&engine, VERSION, target_release())?;
    #[cfg(feature = "test-park")]
    let parked = crate::park::Parked::start(may_sleep)?;
    take_over.install(may_sleep)?;
    #[cfg(feature = "test-park")]
    parked.report("load");
    // Only now: it takes what hangs on a process for a trace of this backend.
    let ast_handler = Some(AstHandler::register());
    let exit_handler = Some(register_exit_handler(may_sleep));
    ENGINE.store(Arc::as_ptr(&engine).cast_mut(), Ordering::Release);
    LEAVING.store(false, Ordering::Release);
    let loaded = Box::new(Loaded {
        take_over,
        ast_handler,
        exit_handler,
        #[cfg(feature = "test-park")]
        parked,
        _sysctls: sysctls,
        _helper: helper,
        inside,
        engine,
    });
    LOADED.store(Box::into_raw(loaded), Ordering::Release);
    log::print(format_args!("version {} traces from now on", env!("CARGO_PKG_VERSION")));
    Ok(())
}

/// Refuses a kernel of another major release, whose structures and types of malloc(9) are others, and one from before
/// [`OLDEST`].
fn check_release() -> Result<(), Errno> {
    // SAFETY: the kernel's own version, which does not change.
    let running = unsafe { sys::osreldate }.cast_unsigned();
    if running / MAJOR != TARGET / MAJOR {
        log::print(format_args!(
            "built for FreeBSD {} ({TARGET}), but this is FreeBSD {} ({running}): use the module for this release",
            TARGET / MAJOR,
            running / MAJOR,
        ));
        return Err(ENOEXEC);
    }
    if running < OLDEST {
        log::print(format_args!(
            "this is FreeBSD {}.{} ({running}), and {}.{} ({OLDEST}) is the oldest that works: upgrade it",
            running / MAJOR,
            running % MAJOR / 1000,
            OLDEST / MAJOR,
            OLDEST % MAJOR / 1000,
        ));
        return Err(ENOEXEC);
    }
    Ok(())
}

/// The release that the module was built for, as `kern.ktrace_rs.target` has it.
fn target_release() -> CString {
    CString::new(format!("{}.{}", TARGET / MAJOR, TARGET % MAJOR / 1000)).unwrap_or_default()
}

/// Asked before an unload that is not forced: `EBUSY` while processes are traced.
fn quiesce(may_sleep: MaySleep) -> Result<(), Errno> {
    let mut pids = Pids::default();
    {
        let allproc = AllProc::lock(may_sleep);
        for p in allproc.processes().filter(|p| p.traceflag() != 0) {
            pids.push(p.pid());
        }
    }
    if pids.is_empty() {
        return Ok(());
    }
    log::print(format_args!("{pids} traced: ktrace -C or ktrace -c ends that, kldunload -f ends it all"));
    Err(EBUSY)
}

fn unload(may_sleep: MaySleep) -> Result<(), Errno> {
    let loaded = LOADED.load(Ordering::Acquire);
    if loaded.is_null() {
        // It was never loaded: MOD_LOAD failed.
        return Ok(());
    }
    // SAFETY: the pointer is from load(), and the linker has one event handled at a time.
    let mut loaded = unsafe { Box::from_raw(loaded) };
    LEAVING.store(true, Ordering::Release);
    // No new thread comes in that way; then wait for those that are inside.
    loaded.ast_handler = None;
    loaded.exit_handler = None;
    match loaded.take_over.remove(may_sleep, &loaded.inside, &loaded.engine) {
        Ok(traces) => {
            #[cfg(feature = "test-park")]
            loaded.parked.report("unload");
            // Nobody else has these; all that they had was written.
            drop(traces);
            LOADED.store(core::ptr::null_mut(), Ordering::Release);
            drop(loaded);
            memory::deregister(may_sleep);
            log::print(format_args!("unloaded: the kernel traces by itself again"));
            Ok(())
        }
        Err(errno) => {
            loaded.ast_handler = Some(AstHandler::register());
            loaded.exit_handler = Some(register_exit_handler(may_sleep));
            LEAVING.store(false, Ordering::Release);
            LOADED.store(Box::into_raw(loaded), Ordering::Release);
            helper::wake();
            Err(errno)
        }
    }
}

fn register_exit_handler(may_sleep: MaySleep) -> ExitHandler {
    // SAFETY: the module is freed when TakeOver::remove() has found that nobody may call it, and no thread is inside.
    unsafe { ExitHandler::register(may_sleep, EXIT_HANDLER) }
}

/// The handler for `TDA_MOD1` of ast(9), while it is registered.
///
/// Dropping it does not wait for threads that run it: they are counted.
struct AstHandler;

impl AstHandler {
    fn register() -> Self {
        // SAFETY: the handler has the type asked for, and is deregistered before it goes.
        unsafe {
            sys::ast_register(
                sys::TDA_MOD1.cast_signed(),
                sys::ASTR_ASTF_REQUIRED.cast_signed(),
                0,
                Some(AST_HANDLER),
            );
        }
        AstHandler
    }
}

impl Drop for AstHandler {
    fn drop(&mut self) {
        // SAFETY: registered by register().
        unsafe { sys::ast_deregister(sys::TDA_MOD1.cast_signed()) };
    }
}
