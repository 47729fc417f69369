//! The life of a traced process: fork, exec, return to user mode, exit.

use alloc::sync::Arc;
use core::ffi::{c_int, c_void};

use kernel_sys as sys;
use ktrace_engine::Synchronous;
use ktrace_format::{Kind, Payload, ProcCtor};

use crate::helper;
use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::proc::{CurrentThread, Proc, ProcLocked};
use crate::module;
use crate::platform::{File, Trace};
use crate::points::{enqueue, write_failed};

/// Passes an inherited trace on to a new child. May sleep; nothing is locked, and the child does
/// not run yet.
///
/// # Safety
///
/// `p1` is the current process, `p2` its child.
pub(crate) unsafe extern "C" fn ktrprocfork(p1: *mut sys::proc_, p2: *mut sys::proc_) {
    // SAFETY: `p1` is the current process, `p2` its child (see # Safety).
    let (parent, child) = unsafe { (Proc::from_raw(p1), Proc::from_raw(p2)) };
    if parent.traceflag() & sys::KTRFAC_INHERIT == 0 {
        return;
    }
    let Some(engine) = module::engine() else { return };
    // SAFETY: fork(2) may sleep here.
    let may_sleep = unsafe { MaySleep::new() };
    let file = parent.lock().trace().and_then(Trace::file);
    let mut trace = file.as_ref().map(|file| {
        let trace = Trace::new(engine, may_sleep);
        trace.stock(may_sleep, file);
        trace
    });
    drop(file);
    let file = {
        // Child before parent, as fork(2) itself locks them.
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
    // An unused trace, or this file, may be the last reference: nothing is locked here.
    drop(file);
    drop(trace);
    procctor(child);
}

/// Queues the `KTR_PROCCTOR` record of a process that has executed a new program. The records so
/// far are written before the program runs. May sleep.
///
/// # Safety
///
/// `p` is the current process.
pub(crate) unsafe extern "C" fn ktrprocctor(p: *mut sys::proc_) {
    // SAFETY: `p` is the current process (see # Safety).
    let p = unsafe { Proc::from_raw(p) };
    procctor(p);
    let Some(inside) = InKtrace::enter() else { return };
    if let Some(trace) = inside.trace() {
        trace.want_flush();
        inside.thread().schedule_drain();
    }
}

/// Queues the `KTR_PROCCTOR` record of a process that is newly traced or has executed a new
/// program.
fn procctor(p: Proc<'_>) {
    if p.traceflag() & sys::KTRFAC_MASK == 0 {
        return;
    }
    let locked = p.lock();
    let Some(_inside) = InKtrace::enter() else { return };
    queue_procctor(&locked);
}

/// Queues the `KTR_PROCCTOR` record of a process, for its first thread to drain. The current thread
/// is inside the tracer.
pub(crate) fn queue_procctor(p: &ProcLocked<'_>) {
    if p.proc().traceflag() & Kind::ProcCtor.facility() == 0 {
        return;
    }
    let (Some(trace), Some(thread)) = (p.trace(), p.first_thread()) else { return };
    let payload = Payload::ProcCtor(ProcCtor { sv_flags: p.proc().sv_flags() });
    enqueue(trace, thread, None, &payload);
}

/// Ends tracing of a process that executes a set-id program, unless the user who began it is
/// privileged to continue. The process is locked. Queued records are therefore written, and the
/// file is closed, on the return to user mode. Returns null, because the caller has nothing to
/// free.
///
/// # Safety
///
/// `p` is the current process, locked.
pub(crate) unsafe extern "C" fn ktrprocexec(p: *mut sys::proc_) -> *mut sys::ktr_io_params {
    // SAFETY: `p` is the current process, and locked (see # Safety).
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

/// Frees the result of ktrprocexec(), which is null if it came from [`ktrprocexec`]. Otherwise the
/// process was between two stock functions when they were replaced. The stock ktrprocexec() had
/// taken the trace off the process, and the process then called this function. May sleep.
///
/// # Safety
///
/// `params` is null or the last reference to a `struct ktr_io_params` of the stock backend.
pub(crate) unsafe extern "C" fn ktr_io_params_free(params: *mut sys::ktr_io_params) {
    /// The first fields of the structure, which is private to `kern_ktrace.c`.
    #[repr(C)]
    struct StockParams {
        vp: *mut sys::vnode,
        cr: *mut sys::ucred,
    }

    // SAFETY: `params` is null or the last reference (see # Safety). The structure's own 32 bytes
    // stay allocated, because only the stock backend knows their malloc(9) type.
    unsafe {
        if let Some(params) = params.cast::<StockParams>().as_ref() {
            sys::vn_close(params.vp, sys::FWRITE.cast_signed(), params.cr, CurrentThread::get().as_ptr());
            sys::crfree(params.cr);
        }
    }
}

/// Returns the vnode that a process is traced to, referenced if `reference`. The process is locked.
///
/// # Safety
///
/// `p` is locked.
pub(crate) unsafe extern "C" fn ktr_get_tracevp(p: *mut sys::proc_, reference: bool) -> *mut sys::vnode {
    // SAFETY: `p` is locked (see # Safety).
    let locked = unsafe { ProcLocked::borrowed(Proc::from_raw(p)) };
    let vnode = locked
        .trace()
        .and_then(|trace| trace.with_file(|file| file.map(|file| file.storage().vnode(reference))));
    vnode.unwrap_or(core::ptr::null_mut())
}

/// Drains the current process before the thread returns to user mode, because the stock handler
/// found records to drain. May sleep.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ktruserret(_: *mut sys::thread) {
    // SAFETY: a thread may sleep on its way to user mode.
    drain_current(unsafe { MaySleep::new() });
}

/// Drains the current process before the thread returns to user mode, after a call of
/// [`schedule_drain()`](crate::kernel::proc::Thread::schedule_drain) for the thread. May sleep.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ast_drain(_: *mut sys::thread, _: c_int) {
    // SAFETY: a thread may sleep on its way to user mode.
    drain_current(unsafe { MaySleep::new() });
}

/// Drains the current process. Closes its file if tracing ended where that was not possible.
fn drain_current(may_sleep: MaySleep) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace() else { return };
    let p = inside.thread().proc();
    match end_if_cleared(p) {
        Some(file) => {
            write_failed(may_sleep, trace.flush(may_sleep, &file));
            helper::wake();
        }
        None => write_failed(may_sleep, trace.drain(may_sleep)),
    }
}

/// Takes the file off a process that is no longer traced.
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

/// Writes the records that an exiting process has made so far. The process still has its files and
/// its memory, which may take long to free. May sleep; the process has one thread left.
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
    write_failed(may_sleep, trace.drain(may_sleep));
}

/// Writes the last record and the queued records of an exiting process, and ends its trace. May
/// sleep; the process has one thread left.
///
/// # Safety
///
/// `td` is the current thread.
pub(crate) unsafe extern "C" fn ktrprocexit(_: *mut sys::thread) {
    let Some(inside) = InKtrace::enter() else { return };
    let thread = inside.thread();
    let p = thread.proc();
    // Not trace(): one that is being retired is to be detached, too.
    if !p.has_trace() {
        return;
    }
    // SAFETY: exit(2) may sleep here.
    let may_sleep = unsafe { MaySleep::new() };
    if p.traceflag() & Kind::ProcDtor.facility() != 0
        && let Some(trace) = inside.trace()
    {
        let last = Synchronous::payload(&Payload::ProcDtor);
        let (_, failures) = trace.commit(may_sleep, &thread.origin(), last);
        write_failed(may_sleep, failures);
    }
    let (trace, file) = {
        let locked = p.lock();
        locked.set_traceflag(0);
        // SAFETY: this is the last thread of the process, and it no longer has a reference.
        let trace = unsafe { locked.detach() };
        let file = trace.as_ref().and_then(|trace| trace.set_file(None));
        (trace, file)
    };
    if let Some(trace) = trace {
        write_failed(may_sleep, trace.end(may_sleep, file.as_ref()));
    }
}
