//! A traced process's life: fork, exec, return to user mode, exit.

use alloc::sync::Arc;
use core::ffi::{c_int, c_void};

use kernel_sys as sys;
use ktrace_engine::Synchronous;
use ktrace_format::{Kind, Payload, ProcCtor};

use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::proc::{CurrentThread, Proc, ProcLocked};
use crate::module;
use crate::platform::{File, Trace};
use crate::points::{enqueue, write_failed};

/// A child is born. May sleep; nothing is locked, and the child does not run yet.
///
/// # Safety
///
/// `p1` is the current process, `p2` its child.
pub(crate) unsafe extern "C" fn ktrprocfork(p1: *mut sys::proc_, p2: *mut sys::proc_) {
    // SAFETY: the caller's.
    let (parent, child) = unsafe { (Proc::from_raw(p1), Proc::from_raw(p2)) };
    if parent.traceflag() & sys::KTRFAC_INHERIT == 0 {
        return;
    }
    let Some(engine) = module::engine() else { return };
    // SAFETY: fork(2) may sleep here.
    let may_sleep = unsafe { MaySleep::new() };
    let mut trace = Some(Arc::new(Trace::new(engine, may_sleep)));
    let file = {
        // In the order in which fork(2) itself takes both.
        let child = child.lock();
        let parent = parent.lock();
        let flags = parent.proc().traceflag();
        let file = parent.trace().and_then(Trace::file);
        if flags & sys::KTRFAC_INHERIT != 0
            && !module::is_leaving()
            && let Some(file) = &file
            && let Some(trace) = trace.take()
        {
            let none = trace.set_file(Some(Arc::clone(file)));
            debug_assert!(none.is_none(), "a new trace has no file");
            child.attach(trace);
            child.set_traceflag(flags);
        }
        file
    };
    // What was not used may be the last reference: nothing is locked here.
    drop(file);
    drop(trace);
    procctor(child);
}

/// The process has another program now: what it has traced so far is written before that runs.
/// May sleep.
///
/// # Safety
///
/// `p` is the current process.
pub(crate) unsafe extern "C" fn ktrprocctor(p: *mut sys::proc_) {
    // SAFETY: the caller's.
    let p = unsafe { Proc::from_raw(p) };
    procctor(p);
    let Some(inside) = InKtrace::enter() else { return };
    if let Some(trace) = inside.trace() {
        trace.want_flush();
        inside.thread().schedule_drain();
    }
}

/// A process begins to be traced, or has another program now.
fn procctor(p: Proc<'_>) {
    if p.traceflag() & sys::KTRFAC_MASK == 0 {
        return;
    }
    let locked = p.lock();
    let Some(_inside) = InKtrace::enter() else { return };
    queue_procctor(&locked);
}

/// Queues the `KTR_PROCCTOR` record of a process, for its first thread to drain. The current
/// thread is inside the tracer.
pub(crate) fn queue_procctor(p: &ProcLocked<'_>) {
    if p.proc().traceflag() & Kind::ProcCtor.facility() == 0 {
        return;
    }
    let (Some(trace), Some(thread)) = (p.trace(), p.first_thread()) else { return };
    let payload = Payload::ProcCtor(ProcCtor { sv_flags: p.proc().sv_flags() });
    enqueue(trace, thread, None, &payload);
}

/// The process executes a set-id program: ends tracing, unless whoever began it is
/// privileged to go on. The process is locked, so what is queued is written, and the file
/// closed, on the return to user mode. Returns null: there is nothing for the caller to free.
///
/// # Safety
///
/// `p` is the current process, locked.
pub(crate) unsafe extern "C" fn ktrprocexec(p: *mut sys::proc_) -> *mut sys::ktr_io_params {
    // SAFETY: the caller's.
    let locked = unsafe { ProcLocked::borrowed(Proc::from_raw(p)) };
    if let Some(trace) = locked.trace() {
        let cred = trace.with_file(|file| file.map(|file| file.storage().hold_cred()));
        if cred.is_some_and(|cred| !cred.has_privilege(sys::PRIV_DEBUG_DIFFCRED)) {
            locked.set_traceflag(0);
            CurrentThread::get().schedule_drain();
        }
    }
    core::ptr::null_mut()
}

/// Frees what ktrprocexec() returned: null where that was [`ktrprocexec`]. Otherwise the
/// process was on its way from the stock function, which had taken the trace off it, to the
/// stock version of this one when that was replaced. May sleep.
///
/// # Safety
///
/// `params` is null or the last reference to a `struct ktr_io_params` of the stock backend.
pub(crate) unsafe extern "C" fn ktr_io_params_free(params: *mut sys::ktr_io_params) {
    /// The first fields of the structure, which `kern_ktrace.c` keeps to itself.
    #[repr(C)]
    struct StockParams {
        vp: *mut sys::vnode,
        cr: *mut sys::ucred,
    }

    // SAFETY: the caller's. The structure's own 32 bytes are of a malloc(9) type that only the
    // stock backend knows; they stay allocated.
    unsafe {
        if let Some(params) = params.cast::<StockParams>().as_ref() {
            sys::vn_close(params.vp, sys::FWRITE.cast_signed(), params.cr, CurrentThread::get().as_ptr());
            sys::crfree(params.cr);
        }
    }
}

/// The vnode that a process is traced to, referenced if `reference`. The process is locked.
///
/// # Safety
///
/// `p` is locked.
pub(crate) unsafe extern "C" fn ktr_get_tracevp(p: *mut sys::proc_, reference: bool) -> *mut sys::vnode {
    // SAFETY: the caller's.
    let locked = unsafe { ProcLocked::borrowed(Proc::from_raw(p)) };
    let vnode = locked
        .trace()
        .and_then(|trace| trace.with_file(|file| file.map(|file| file.storage().vnode(reference))));
    vnode.unwrap_or(core::ptr::null_mut())
}

/// The thread returns to user mode, and the stock handler found something to drain. May sleep.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ktruserret(_: *mut sys::thread) {
    // SAFETY: on the way to user mode threads may sleep.
    drain_current(unsafe { MaySleep::new() });
}

/// The thread returns to user mode, and [`schedule_drain()`](crate::kernel::proc::Thread::schedule_drain) was called for it. May sleep.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ast_drain(_: *mut sys::thread, _: c_int) {
    // SAFETY: on the way to user mode threads may sleep.
    drain_current(unsafe { MaySleep::new() });
}

/// Writes what the current process has queued; and closes its file, if tracing ended where
/// that could not be done.
fn drain_current(may_sleep: MaySleep) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace() else { return };
    let p = inside.thread().proc();
    match end_if_cleared(p) {
        Some(file) => write_failed(may_sleep, trace.flush(may_sleep, p.queue_room(), &file)),
        None => write_failed(may_sleep, trace.drain(may_sleep, p.queue_room())),
    }
}

/// Takes the file off a process that is not traced any more.
#[must_use = "the file is to be flushed, and dropped where sleeping is allowed"]
fn end_if_cleared(p: Proc<'_>) -> Option<Arc<File>> {
    if p.traceflag() != 0 {
        return None;
    }
    let locked = p.lock();
    if p.traceflag() != 0 {
        return None;
    }
    locked.trace().and_then(|trace| trace.set_file(None))
}

/// The process exits, and has its files and its memory still, which may take long to go: writes what it has made so far. May
/// sleep; the process has one thread left.
///
/// # Safety
///
/// Called by exit(2).
pub(crate) unsafe extern "C" fn process_exit(_: *mut c_void, _: *mut sys::proc_) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace() else { return };
    // SAFETY: exit(2) may sleep here.
    let may_sleep = unsafe { MaySleep::new() };
    trace.want_flush();
    write_failed(may_sleep, trace.drain(may_sleep, inside.thread().proc().queue_room()));
}

/// The process exits: writes the last record and what is queued, and ends the trace. May
/// sleep; the process has one thread left.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ktrprocexit(_: *mut sys::thread) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace() else { return };
    let thread = inside.thread();
    let p = thread.proc();
    // SAFETY: exit(2) may sleep here.
    let may_sleep = unsafe { MaySleep::new() };
    if p.traceflag() & Kind::ProcDtor.facility() != 0 {
        let last = Synchronous::payload(&Payload::ProcDtor);
        let (_, failures) = trace.commit(may_sleep, 0, &thread.origin(), last);
        write_failed(may_sleep, failures);
    }
    let (trace, file) = {
        let locked = p.lock();
        locked.set_traceflag(0);
        // SAFETY: this is the process's last thread.
        let trace = unsafe { locked.detach() };
        let file = trace.as_ref().and_then(|trace| trace.set_file(None));
        (trace, file)
    };
    if let Some(trace) = trace {
        write_failed(may_sleep, trace.end(may_sleep, file.as_ref()));
    }
}
