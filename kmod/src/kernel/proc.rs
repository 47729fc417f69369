//! Processes and threads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use kernel_sys as sys;
use ktrace_engine::Origin;
use ktrace_format::{Kind, MAXCOMLEN};

use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::lock::SxShared;
use crate::machine::{byte, curthread};
use crate::platform::Trace;

/// A thread.
///
/// # Invariants
///
/// The pointer is to a `struct thread` that stays for `'a`: the current thread, or one whose process is locked or
/// cannot go away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thread<'a>(*mut sys::thread, PhantomData<&'a ()>);

impl<'a> Thread<'a> {
    pub(crate) fn as_ptr(self) -> *mut sys::thread {
        self.0
    }

    /// Its process.
    pub(crate) fn proc(self) -> Proc<'a> {
        // SAFETY: invariant; td_proc of a thread that exists does not change, and a process stays as long as its threads.
        Proc(unsafe { (*self.0).td_proc }, PhantomData)
    }

    /// What the header of a record says of its maker.
    pub(crate) fn origin(self) -> Origin {
        // SAFETY: invariant; a name that changes meanwhile is mixed, as with the stock backend.
        let (tid, name) = unsafe { ((*self.0).td_tid, (*self.0).td_name) };
        Origin { pid: self.proc().pid(), tid: i64::from(tid), comm: name.map(byte) }
    }

    /// Has the thread drain its process before it returns to user mode (`TDA_MOD1`). Takes the thread
    /// lock, unless that was done before.
    pub(crate) fn schedule_drain(self) {
        // The bit is taken away before the drain begins, and what that is to find was put where it is
        // under a lock before this is read.
        if self.ast() & (1 << sys::TDA_MOD1) != 0 {
            return;
        }
        // SAFETY: invariant.
        unsafe { sys::ast_sched(self.0, sys::TDA_MOD1.cast_signed()) };
    }

    /// What the thread has to do before it returns to user mode (`td_ast`); read without a lock.
    fn ast(self) -> u32 {
        // SAFETY: invariant; AtomicI32 has the shape of an int.
        let ast = unsafe { AtomicI32::from_ptr(&raw mut (*self.0).td_ast) };
        ast.load(Ordering::Relaxed).cast_unsigned()
    }
}

/// The thread that runs, for what the kernel asks of no other. It stays as long as any code of its own runs, and the value
/// is not [`Send`].
#[derive(Clone, Copy)]
pub(crate) struct CurrentThread(Thread<'static>);

impl CurrentThread {
    /// `curthread`.
    pub(crate) fn get() -> Self {
        CurrentThread(Thread(curthread(), PhantomData))
    }

    /// Returns whether the thread is about to stop before it returns to user mode: its process is being suspended, or has
    /// a signal that stops it unless it is caught.
    pub(crate) fn is_about_to_stop(self) -> bool {
        let ast = self.ast();
        // SAFETY: the current thread; read without a lock, so that a signal may be missed or gone.
        ast & (1 << sys::TDA_SUSPEND) != 0
            || ast & (1 << sys::TDA_SIG) != 0 && unsafe { sys::ktrace_rs_has_stop_signal(self.as_ptr()) }
    }

    /// Number and `sy_flags` of the system call that the thread is in.
    pub(crate) fn syscall(self) -> (u32, u32) {
        // SAFETY: td_sa is written by the thread itself, callp by a valid table.
        unsafe {
            let sa = &(*self.as_ptr()).td_sa;
            (sa.code, sa.callp.as_ref().map_or(0, |callp| u32::from(callp.sy_flags)))
        }
    }

    /// Returns whether the thread is inside the tracer (`TDP_INKTRACE`).
    pub(crate) fn is_in_ktrace(self) -> bool {
        // SAFETY: td_pflags is read by its own thread.
        unsafe { (*self.as_ptr()).td_pflags.cast_unsigned() & sys::TDP_INKTRACE != 0 }
    }

    /// Returns whether the thread has the privilege (priv(9)).
    pub(crate) fn has_privilege(self, privilege: u32) -> bool {
        // SAFETY: the current thread; any number is a question that priv_check() answers.
        unsafe { sys::priv_check(self.as_ptr(), privilege.cast_signed()) == 0 }
    }
}

impl Deref for CurrentThread {
    type Target = Thread<'static>;

    fn deref(&self) -> &Thread<'static> {
        &self.0
    }
}

/// A process.
///
/// # Invariants
///
/// The pointer is to a `struct proc` that stays for `'a`: the current process, a locked one, or one on a list that is
/// locked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proc<'a>(*mut sys::proc_, PhantomData<&'a ()>);

impl<'a> Proc<'a> {
    /// # Safety
    ///
    /// The invariant above holds for `p`.
    pub(crate) unsafe fn from_raw(p: *mut sys::proc_) -> Self {
        Proc(p, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *mut sys::proc_ {
        self.0
    }

    pub(crate) fn pid(self) -> i32 {
        // SAFETY: invariant.
        unsafe { (*self.0).p_pid }
    }

    /// How many bytes of records the process may make before it is drained again: a few
    /// context switches and signals of each thread; or as many page faults as one system call
    /// on a large buffer has, which nobody can tell.
    pub(crate) fn queue_room(self) -> usize {
        const PER_THREAD: usize = 512;
        if self.traceflag() & (Kind::Fault.facility() | Kind::FaultEnd.facility()) != 0 {
            return usize::MAX;
        }
        // SAFETY: invariant; AtomicI32 has the shape of an int.
        let threads = unsafe { AtomicI32::from_ptr(&raw mut (*self.0).p_numthreads) };
        usize::try_from(threads.load(Ordering::Relaxed)).unwrap_or(1).saturating_mul(PER_THREAD)
    }

    /// `p_traceflag`; read without a lock, as KTRPOINT() does.
    pub(crate) fn traceflag(self) -> u32 {
        self.traceflag_cell().load(Ordering::Relaxed).cast_unsigned()
    }

    /// Returns whether the process, which must be the current one, is in execve(2) (`P_INEXEC`). Its address
    /// space may be the new program's by then.
    pub(crate) fn is_in_exec(self) -> bool {
        // SAFETY: invariant; AtomicI32 has the shape of an int. Only the process itself changes this flag.
        let flag = unsafe { AtomicI32::from_ptr(&raw mut (*self.0).p_flag) };
        flag.load(Ordering::Relaxed).cast_unsigned() & sys::P_INEXEC != 0
    }

    /// `sv_flags` of the process's ABI.
    pub(crate) fn sv_flags(self) -> u32 {
        // SAFETY: invariant; p_sysent is never null.
        unsafe { (*(*self.0).p_sysent).sv_flags }
    }

    /// Takes the process lock.
    pub(crate) fn lock(self) -> ProcLocked<'a> {
        // SAFETY: invariant.
        unsafe { sys::ktrace_rs_proc_lock(self.0) };
        ProcLocked(self)
    }

    fn traceflag_cell(self) -> &'a AtomicI32 {
        // SAFETY: invariant; AtomicI32 has the shape of an int.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0).p_traceflag) }
    }

    /// `p_ktrioparms`: null, or what [`Arc::into_raw`] made of an `Arc<Trace>`.
    fn trace_cell(self) -> &'a AtomicPtr<Trace> {
        // SAFETY: invariant; AtomicPtr has the shape of a pointer, and what it points to is
        // known to this module only, while the stock functions are replaced.
        unsafe { AtomicPtr::from_ptr((&raw mut (*self.0).p_ktrioparms).cast()) }
    }

    /// Whether it is a process of the kernel's own.
    pub(crate) fn is_kernel(self) -> bool {
        // SAFETY: the process stays; the bit does not change.
        unsafe { (*self.0).p_flag.cast_unsigned() & sys::P_KPROC != 0 }
    }

    /// Whether a record of the stock backend is queued (`p_ktr`).
    pub(crate) fn has_stock_records(self) -> bool {
        // SAFETY: invariant.
        unsafe { !(*self.0).p_ktr.stqh_first.is_null() }
    }

    /// Whether `p_ktrioparms` is set, by whichever backend.
    pub(crate) fn has_trace(self) -> bool {
        !self.trace_cell().load(Ordering::Relaxed).is_null()
    }

    /// Takes the trace off the process without its lock.
    ///
    /// # Safety
    ///
    /// No other thread uses the process's trace.
    pub(crate) unsafe fn take_trace(self) -> Option<Arc<Trace>> {
        let trace = self.trace_cell().swap(core::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: a pointer that is not null is one reference that attach() gave away.
        (!trace.is_null()).then(|| unsafe { Arc::from_raw(trace) })
    }
}

impl InKtrace {
    /// The trace of the current process, if it has one.
    ///
    /// It stays while the thread is inside the tracer: only the process's last thread takes
    /// it off, on exit, and the module after all threads have left.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        let trace = self.thread().proc().trace_cell().load(Ordering::Acquire);
        // SAFETY: as said above.
        unsafe { trace.as_ref() }
    }

    /// As [`InKtrace::trace`], if records of that type are traced.
    ///
    /// The trace point has looked before, but the thread may have slept since, and the type be
    /// switched off by now.
    pub(crate) fn trace_of(&self, kind: Kind) -> Option<&Trace> {
        let traced = self.thread().proc().traceflag() & kind.facility() != 0;
        self.trace().filter(|_| traced)
    }
}

/// A process whose lock is held.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct ProcLocked<'a>(Proc<'a>);

impl<'a> ProcLocked<'a> {
    /// # Safety
    ///
    /// The process lock is held by the current thread, and released by whoever called; the
    /// value must not be dropped but forgotten.
    pub(crate) unsafe fn borrowed(p: Proc<'a>) -> core::mem::ManuallyDrop<Self> {
        core::mem::ManuallyDrop::new(ProcLocked(p))
    }

    /// Finds a process by its number, and locks it. May sleep.
    pub(crate) fn find(_: MaySleep, pid: i32) -> Option<Self> {
        // SAFETY: pfind() returns a process locked, or null, and the caller may sleep.
        let p = unsafe { sys::pfind(pid) };
        // Not then_some(): there is nothing to unlock on drop where nothing was found.
        (!p.is_null()).then(|| ProcLocked(Proc(p, PhantomData)))
    }

    /// The process, which stays while the lock is held.
    pub(crate) fn proc(&self) -> Proc<'_> {
        self.0
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: u32) {
        // SAFETY: the process is locked, as kern_psignal() asks for.
        unsafe { sys::kern_psignal(self.0.0, signal.cast_signed()) };
    }

    /// Sets `p_traceflag`.
    pub(crate) fn set_traceflag(&self, flags: u32) {
        self.0.traceflag_cell().store(flags.cast_signed(), Ordering::Relaxed);
    }

    /// The trace of the process, which stays while the lock is held.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        let trace = self.0.trace_cell().load(Ordering::Acquire);
        // SAFETY: whoever takes a trace off its process holds the process lock, or knows that
        // nobody else is inside the tracer.
        unsafe { trace.as_ref() }
    }

    /// Another reference to the trace.
    pub(crate) fn clone_trace(&self) -> Option<Arc<Trace>> {
        let trace = self.0.trace_cell().load(Ordering::Acquire);
        if trace.is_null() {
            return None;
        }
        // SAFETY: the pointer is from Arc::into_raw(), and the process holds one reference: see trace().
        unsafe {
            Arc::increment_strong_count(trace);
            Some(Arc::from_raw(trace))
        }
    }

    /// Gives the process its trace, which it must not have yet.
    pub(crate) fn attach(&self, trace: Arc<Trace>) {
        self.0.trace_cell().store(Arc::into_raw(trace).cast_mut(), Ordering::Release);
    }

    /// Takes the trace off the process.
    ///
    /// # Safety
    ///
    /// No thread of the process is inside the tracer but the current one.
    pub(crate) unsafe fn detach(&self) -> Option<Arc<Trace>> {
        // SAFETY: others that use it hold the process lock.
        unsafe { self.0.take_trace() }
    }

    /// Whether the process is still being born (`PRS_NEW`).
    pub(crate) fn is_new(&self) -> bool {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_state == sys::PRS_NEW }
    }

    /// Whether the process is on its way out (`P_WEXIT`).
    pub(crate) fn is_exiting(&self) -> bool {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_flag.cast_unsigned() & sys::P_WEXIT != 0 }
    }

    /// The name of its program (`p_comm`), ended by a NUL.
    pub(crate) fn comm(&self) -> [u8; MAXCOMLEN + 1] {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_comm }.map(byte)
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> impl Iterator<Item = Thread<'_>> {
        // SAFETY: the list is guarded by the process lock, which self holds.
        unsafe { threads(self.0) }
    }

    /// Its first thread (`FIRST_THREAD_IN_PROC`).
    pub(crate) fn first_thread(&self) -> Option<Thread<'_>> {
        self.threads().next()
    }

    /// Whether `td` may debug the process (`p_candebug`).
    pub(crate) fn can_debug(&self, td: CurrentThread) -> bool {
        // SAFETY: the process is locked, as p_candebug() asks for, and td runs.
        unsafe { sys::p_candebug(td.as_ptr(), self.0.0) == 0 }
    }

    /// Whether `td` may see the process (`p_cansee`).
    pub(crate) fn can_see(&self, td: CurrentThread) -> bool {
        // SAFETY: the process is locked, as p_cansee() asks for, and td runs.
        unsafe { sys::p_cansee(td.as_ptr(), self.0.0) == 0 }
    }
}

impl Drop for ProcLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: the lock was taken by Proc::lock().
        unsafe { sys::ktrace_rs_proc_unlock(self.0.0) };
    }
}

/// `allproc_lock`, held shared: the list of all processes does not change, and each on it stays.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct AllProc {
    _lock: SxShared,
}

impl AllProc {
    /// Takes the lock. May sleep.
    pub(crate) fn lock(may_sleep: MaySleep) -> Self {
        AllProc { _lock: SxShared::allproc(may_sleep) }
    }

    /// All processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Proc<'_>> {
        // SAFETY: the list is locked for as long as self is borrowed.
        unsafe { all_processes() }
    }
}

/// `proctree_lock`, held shared: parents, children and process groups do not change, and no process is reaped.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct ProcTree {
    _lock: SxShared,
}

impl ProcTree {
    /// Takes the lock. May sleep.
    pub(crate) fn lock(may_sleep: MaySleep) -> Self {
        ProcTree { _lock: SxShared::proctree(may_sleep) }
    }

    /// Finds a process by its number, which stays when its own lock is released. May sleep.
    pub(crate) fn find(&self, may_sleep: MaySleep, pid: i32) -> Option<Proc<'_>> {
        let found = ProcLocked::find(may_sleep, pid)?;
        Some(Proc(found.0.0, PhantomData))
    }

    /// Finds a process group by its number, and returns its members.
    pub(crate) fn members(&self, id: i32) -> Option<impl Iterator<Item = Proc<'_>>> {
        // SAFETY: pgfind(), which asks for the tree lock, returns the group locked, or null; the tree lock keeps it and its
        // members.
        let first = unsafe {
            let pg = sys::pgfind(id);
            if pg.is_null() {
                return None;
            }
            sys::ktrace_rs_pgrp_unlock(pg);
            (*pg).pg_members.lh_first
        };
        // SAFETY: as above.
        Some(list(first, |p| unsafe { (*p).p_pglist.le_next }).map(|p| Proc(p, PhantomData)))
    }

    /// A process and all its descendants, each before its children.
    pub(crate) fn family<'a>(&'a self, top: Proc<'a>) -> impl Iterator<Item = Proc<'a>> {
        let mut next = Some(top);
        core::iter::from_fn(move || {
            let current = next?;
            // SAFETY: the tree is locked.
            next = unsafe { after(current.0, top.0) }.map(|p| Proc(p, PhantomData));
            Some(current)
        })
    }
}

/// The processes of the list `allproc`.
///
/// # Safety
///
/// For `'a` `allproc_lock` is held, or nothing else runs.
pub(super) unsafe fn all_processes<'a>() -> impl Iterator<Item = Proc<'a>> {
    // SAFETY: the caller keeps the list from changing.
    let first = unsafe { sys::allproc.lh_first };
    // SAFETY: as above.
    list(first, |p| unsafe { (*p).p_list.le_next }).map(|p| Proc(p, PhantomData))
}

/// Visits all processes that have a trace, each while it is locked. `visit` must not allocate: who has to
/// free memory may need the list. May sleep.
pub(crate) fn for_traced(may_sleep: MaySleep, mut visit: impl FnMut(&ProcLocked)) {
    let all_processes = AllProc::lock(may_sleep);
    for p in all_processes.processes().filter(|p| p.has_trace()) {
        visit(&p.lock());
    }
}

/// Gathers what `visit` gives to the function that it is called with, from all processes that have a
/// trace, each while it is locked. May sleep.
///
/// Nothing is allocated meanwhile: who has to free memory may need the list. Where there is no room for
/// all, they are visited again, and what was given and not kept is dropped while the process is locked.
pub(crate) fn gather_traced<T>(
    may_sleep: MaySleep,
    visit: impl Fn(&ProcLocked<'_>, &mut dyn FnMut(T)),
) -> Vec<T> {
    let mut gathered = Vec::new();
    loop {
        let mut all: usize = 0;
        for_traced(may_sleep, |p| {
            visit(p, &mut |item| {
                all = all.saturating_add(1);
                if gathered.len() < gathered.capacity() {
                    gathered.push(item);
                }
            });
        });
        if gathered.len() == all {
            return gathered;
        }
        gathered.clear();
        gathered.reserve(all.saturating_mul(2));
    }
}

/// The threads of a process.
///
/// # Safety
///
/// For `'a` the process is locked, or nothing else runs.
pub(super) unsafe fn threads<'a>(p: Proc<'_>) -> impl Iterator<Item = Thread<'a>> + use<'a> {
    // SAFETY: the caller keeps the list from changing.
    let first = unsafe { (*p.0).p_threads.tqh_first };
    // SAFETY: as above.
    list(first, |td| unsafe { (*td).td_plist.tqe_next }).map(|td| Thread(td, PhantomData))
}

/// The process that follows `p` in a walk over the family of `top`.
///
/// # Safety
///
/// `proctree_lock` is held, and `p` is `top` or below it.
unsafe fn after(mut p: *mut sys::proc_, top: *mut sys::proc_) -> Option<*mut sys::proc_> {
    // SAFETY: the caller keeps the tree from changing; p is top or below it.
    unsafe {
        let child = (*p).p_children.lh_first;
        if !child.is_null() {
            return Some(child);
        }
        while p != top {
            let sibling = (*p).p_sibling.le_next;
            if !sibling.is_null() {
                return Some(sibling);
            }
            p = (*p).p_pptr;
        }
    }
    None
}

/// Walks a list of queue(3).
fn list<T>(mut first: *mut T, next: impl Fn(*mut T) -> *mut T) -> impl Iterator<Item = *mut T> {
    core::iter::from_fn(move || {
        let current = first;
        if current.is_null() {
            return None;
        }
        first = next(current);
        Some(current)
    })
}
