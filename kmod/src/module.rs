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

/// The module's version, shown in `kern.ktrace_rs.version`.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

/// `__FreeBSD_version` of the headers that the module was built with.
const TARGET: u32 = sys::KTRACE_RS_TARGET;

/// A major release in units of `__FreeBSD_version`.
const MAJOR: u32 = 100_000;

/// Maximum default for the memory of all traces, in bytes. The default is an eighth of the physical
/// memory, and a quarter of that for each user.
const MEMORY_MAX: usize = 1024 * 1024 * 1024;

const EBUSY: Errno = Errno(sys::EBUSY.cast_signed());
const ENOEXEC: Errno = Errno(sys::ENOEXEC.cast_signed());
const EOPNOTSUPP: Errno = Errno(sys::EOPNOTSUPP.cast_signed());

/// The loaded module; null before it is loaded and after it is unloaded.
static LOADED: AtomicPtr<Loaded> = AtomicPtr::new(core::ptr::null_mut());

/// The state that all traces share; null before the module has taken over, and once the stock
/// backend is back.
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(core::ptr::null_mut());

/// True while the module is being unloaded: no process passes its trace on to a child.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Returns the state that all traces share, or `None` if no new trace may begin: before the module
/// has taken over, and from the beginning of an unload.
pub(crate) fn engine() -> Option<Arc<Engine>> {
    if is_leaving() {
        return None;
    }
    let engine = ENGINE.load(Ordering::Acquire);
    if engine.is_null() {
        return None;
    }
    // SAFETY: the pointer is to the engine of the loaded module, which exists until no thread is
    // inside the module.
    unsafe {
        Arc::increment_strong_count(engine);
        Some(Arc::from_raw(engine))
    }
}

/// Runs `work`, which reads `p_ktrioparms` of processes, with the thread counted as inside the
/// module. Returns `None`, without running it, if that field may belong to the stock backend:
/// before the module has taken over, and from the beginning of an unload.
pub(crate) fn with_engine<R>(work: impl FnOnce(&Engine) -> R) -> Option<R> {
    counted(|| engine().map(|engine| work(&engine)))
}

/// Runs `work` like [`with_engine`], but until the stock backend is back: for threads that write
/// the remaining records.
pub(crate) fn with_engine_to_the_end<R>(work: impl FnOnce(&Engine) -> R) -> Option<R> {
    counted(|| {
        // SAFETY: the engine of the loaded module exists until no thread is inside the module.
        unsafe { ENGINE.load(Ordering::Acquire).as_ref() }.map(work)
    })
}

/// Hides the engine from all threads, because the stock backend is back.
pub(crate) fn forget_engine() {
    ENGINE.store(core::ptr::null_mut(), Ordering::Release);
}

/// Returns whether the module is being unloaded.
pub(crate) fn is_leaving() -> bool {
    LEAVING.load(Ordering::Acquire)
}

/// Handles an event of module(9). The linker delivers one event at a time. May sleep.
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

/// The state of the loaded module, in the order in which it is dropped.
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
    let memory = (memory::physical() / 8).min(MEMORY_MAX);
    engine.settings.set_memory_limit(memory);
    engine.settings.set_user_memory_limit(memory / 4);
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
    // Only now: the handler takes `p_ktrioparms` of a process for a trace of this backend.
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

/// Refuses a kernel of another major release, whose structures and malloc(9) types differ, and one
/// older than [`OLDEST`].
fn check_release() -> Result<(), Errno> {
    // SAFETY: the version of the running kernel does not change.
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

/// Returns the release that the module was built for, shown in `kern.ktrace_rs.target`.
fn target_release() -> CString {
    CString::new(format!("{}.{}", TARGET / MAJOR, TARGET % MAJOR / 1000)).unwrap_or_default()
}

/// Returns `EBUSY` while processes are traced. The kernel asks this before an unload that is not
/// forced.
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
        // MOD_LOAD failed: the module was never loaded.
        return Ok(());
    }
    // SAFETY: the pointer is from Box::into_raw(), and the linker delivers one event at a time.
    let mut loaded = unsafe { Box::from_raw(loaded) };
    LEAVING.store(true, Ordering::Release);
    // No new thread enters through the handlers. remove() then waits for the threads inside.
    loaded.ast_handler = None;
    loaded.exit_handler = None;
    match loaded.take_over.remove(may_sleep, &loaded.inside, &loaded.engine) {
        Ok(traces) => {
            #[cfg(feature = "test-park")]
            loaded.parked.report("unload");
            // No other references to these traces exist, and all of their records are written.
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
    // SAFETY: the module is freed when TakeOver::remove() has found that no thread may call the
    // handler, and no thread is inside.
    unsafe { ExitHandler::register(may_sleep, EXIT_HANDLER) }
}

/// The handler for `TDA_MOD1` of ast(9), while it is registered.
///
/// Dropping this does not wait for threads that run the handler: the entries count them.
struct AstHandler;

impl AstHandler {
    fn register() -> Self {
        // SAFETY: the handler has the required type, and is deregistered before the module is
        // freed.
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
        // SAFETY: register() has registered the handler.
        unsafe { sys::ast_deregister(sys::TDA_MOD1.cast_signed()) };
    }
}
