//! Processes and threads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering, fence};

use kernel_sys as sys;
use ktrace_engine::Origin;
use ktrace_format::{Kind, MAXCOMLEN};

use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::lock::SxShared;
use crate::machine::{byte, curthread};
use crate::platform::Trace;

/// The mark of a trace that is being [retired](super::retire): the lowest bit of its address in
/// `p_ktrioparms`. Set and removed with the process lock held.
const RETIRING: usize = 1;
const _: () = assert!(align_of::<Trace>() > RETIRING);

fn unmarked(trace: *mut Trace) -> *mut Trace {
    trace.map_addr(|address| address & !RETIRING)
}

/// A thread.
///
/// # Invariants
///
/// The pointer refers to a `struct thread` that stays for `'a`: the current thread, one whose
/// process is locked or cannot go away, or any one while nothing else runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thread<'a>(*mut sys::thread, PhantomData<&'a ()>);

impl<'a> Thread<'a> {
    pub(crate) fn as_ptr(self) -> *mut sys::thread {
        self.0
    }

    /// Returns the thread's process.
    pub(crate) fn proc(self) -> Proc<'a> {
        // SAFETY: the thread exists (invariant). Its td_proc does not change, and a process stays
        // as long as its threads.
        Proc(unsafe { (*self.0).td_proc }, PhantomData)
    }

    /// Returns the part of a record's header that identifies the thread.
    pub(crate) fn origin(self) -> Origin {
        // SAFETY: the thread exists (invariant). A name that changes during the copy is mixed, as
        // with the stock backend.
        let (tid, name) = unsafe { ((*self.0).td_tid, (*self.0).td_name) };
        Origin { pid: self.proc().pid(), tid: i64::from(tid), comm: name.map(byte) }
    }

    /// Schedules an AST (`TDA_MOD1`), so that the thread drains its process before it returns to
    /// user mode. Takes the thread lock, unless the AST is already scheduled.
    pub(crate) fn schedule_drain(self) {
        // The kernel clears the bit before the drain begins. The records to be drained were queued
        // under a lock before the bit is read here, so a drain that is still scheduled finds them.
        if self.ast() & (1 << sys::TDA_MOD1) != 0 {
            return;
        }
        // SAFETY: the thread exists (invariant).
        unsafe { sys::ast_sched(self.0, sys::TDA_MOD1.cast_signed()) };
    }

    /// Returns `td_pflags`, which only the thread itself changes.
    pub(super) fn pflags(self) -> &'a AtomicI32 {
        // SAFETY: the thread exists (invariant). AtomicI32 has the layout of an int.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0).td_pflags) }
    }

    /// Returns whether the thread is inside the tracer (`TDP_INKTRACE`). Another thread may enter or
    /// leave at any time.
    pub(crate) fn is_in_ktrace(self) -> bool {
        self.pflags().load(Ordering::Relaxed).cast_unsigned() & sys::TDP_INKTRACE != 0
    }

    /// Returns the scheduled ASTs of the thread (`td_ast`), read without a lock.
    fn ast(self) -> u32 {
        // SAFETY: the thread exists (invariant). AtomicI32 has the layout of an int.
        let ast = unsafe { AtomicI32::from_ptr(&raw mut (*self.0).td_ast) };
        ast.load(Ordering::Relaxed).cast_unsigned()
    }
}

/// The current thread, for operations that the kernel allows on no other. It exists as long as its
/// own code runs, and the value is not [`Send`].
#[derive(Clone, Copy)]
pub(crate) struct CurrentThread(Thread<'static>);

impl CurrentThread {
    /// Returns `curthread`.
    pub(crate) fn get() -> Self {
        CurrentThread(Thread(curthread(), PhantomData))
    }

    /// Returns whether the thread is about to stop before it returns to user mode. Its process is
    /// being suspended, or has a signal that stops it unless it is caught.
    pub(crate) fn is_about_to_stop(self) -> bool {
        let ast = self.ast();
        // SAFETY: the thread is the current one. The signals are read without a lock, so one may be
        // missed or already gone.
        ast & (1 << sys::TDA_SUSPEND) != 0
            || ast & (1 << sys::TDA_SIG) != 0 && unsafe { sys::ktrace_rs_has_stop_signal(self.as_ptr()) }
    }

    /// Returns the number and the `sy_flags` of the system call that the thread is in.
    pub(crate) fn syscall(self) -> (u32, u32) {
        // SAFETY: the thread is the current one, and only it writes its td_sa. callp is null or
        // points into a valid table.
        unsafe {
            let sa = &(*self.as_ptr()).td_sa;
            (sa.code, sa.callp.as_ref().map_or(0, |callp| u32::from(callp.sy_flags)))
        }
    }

    /// Returns whether the thread has the privilege (priv(9)).
    pub(crate) fn has_privilege(self, privilege: u32) -> bool {
        // SAFETY: the thread is the current one, as priv_check() requires. A number that is no
        // privilege fails an assertion at the most.
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
/// The pointer refers to a `struct proc` that stays for `'a`: the current process, a locked one,
/// one on a locked list, or any one while nothing else runs.
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
        // SAFETY: the process exists (invariant).
        unsafe { (*self.0).p_pid }
    }

    /// Returns `p_traceflag`, read without a lock, as KTRPOINT() does.
    pub(crate) fn traceflag(self) -> u32 {
        self.traceflag_cell().load(Ordering::Relaxed).cast_unsigned()
    }

    /// Returns whether the process, which must be the current one, is in execve(2) (`P_INEXEC`).
    /// Its address space may already be that of the new program.
    pub(crate) fn is_in_exec(self) -> bool {
        // SAFETY: the process exists (invariant). AtomicI32 has the layout of an int. Only the
        // process itself changes this flag.
        let flag = unsafe { AtomicI32::from_ptr(&raw mut (*self.0).p_flag) };
        flag.load(Ordering::Relaxed).cast_unsigned() & sys::P_INEXEC != 0
    }

    /// Returns `sv_flags` of the process's ABI.
    pub(crate) fn sv_flags(self) -> u32 {
        // SAFETY: the process exists (invariant). Its p_sysent is never null.
        unsafe { (*(*self.0).p_sysent).sv_flags }
    }

    /// Takes the process lock.
    pub(crate) fn lock(self) -> ProcLocked<'a> {
        // SAFETY: the process exists (invariant).
        unsafe { sys::ktrace_rs_proc_lock(self.0) };
        ProcLocked(self)
    }

    fn traceflag_cell(self) -> &'a AtomicI32 {
        // SAFETY: the process exists (invariant). AtomicI32 has the layout of an int.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0).p_traceflag) }
    }

    /// Returns `p_ktrioparms`. While the stock functions are replaced, it is null or a pointer that
    /// [`Arc::into_raw`] returned for an `Arc<Trace>`, with or without the mark [`RETIRING`].
    fn trace_cell(self) -> &'a AtomicPtr<Trace> {
        // SAFETY: the process exists (invariant). AtomicPtr has the layout of a pointer. While the
        // stock functions are replaced, only this module uses the object that it points to.
        unsafe { AtomicPtr::from_ptr((&raw mut (*self.0).p_ktrioparms).cast()) }
    }

    /// Returns whether the process is a kernel process (`P_KPROC`).
    pub(crate) fn is_kernel(self) -> bool {
        // SAFETY: the process exists (invariant). This bit does not change.
        unsafe { (*self.0).p_flag.cast_unsigned() & sys::P_KPROC != 0 }
    }

    /// Returns whether records of the stock backend are queued (`p_ktr`).
    pub(crate) fn has_stock_records(self) -> bool {
        // SAFETY: the process exists (invariant).
        unsafe { !(*self.0).p_ktr.stqh_first.is_null() }
    }

    /// Returns whether `p_ktrioparms` is set, by either backend.
    pub(crate) fn has_trace(self) -> bool {
        !self.trace_cell().load(Ordering::Relaxed).is_null()
    }

    /// Returns the trace of the process, whether it is marked or not, or null.
    fn any_trace(self) -> *mut Trace {
        unmarked(self.trace_cell().load(Ordering::Acquire))
    }

    /// Returns whether the trace of the process is being retired.
    pub(super) fn is_retiring(self) -> bool {
        self.trace_cell().load(Ordering::Relaxed).addr() & RETIRING != 0
    }

    /// Detaches the trace from the process, without the process lock.
    ///
    /// # Safety
    ///
    /// No other thread uses the process's trace.
    pub(crate) unsafe fn take_trace(self) -> Option<Arc<Trace>> {
        let trace = unmarked(self.trace_cell().swap(core::ptr::null_mut(), Ordering::AcqRel));
        // SAFETY: a pointer that is not null is the one reference that attach() stored.
        (!trace.is_null()).then(|| unsafe { Arc::from_raw(trace) })
    }
}

impl InKtrace {
    /// Returns the trace of the current process, if it has one. A trace that is being
    /// [retired](super::retire) is none: the process is not traced.
    ///
    /// The trace stays while the thread is inside the tracer. It is detached by the last thread of
    /// the process, on exit; by its retirement, which the thread prevents; or by the module, after
    /// all threads have left.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        let trace = self.thread().proc().trace_cell().load(Ordering::Acquire);
        if trace.addr() & RETIRING != 0 {
            return None;
        }
        // SAFETY: the pointer is null, or refers to a trace that stays while self exists, as
        // explained above.
        unsafe { trace.as_ref() }
    }

    /// Returns the trace as [`InKtrace::trace`] does, but only if records of type `kind` are
    /// traced.
    ///
    /// The trace point has already checked this. The thread may have slept since, and the type may
    /// be switched off by now.
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
    /// The current thread holds the process lock, and its caller releases that. The value must be
    /// forgotten, not dropped.
    pub(crate) unsafe fn borrowed(p: Proc<'a>) -> core::mem::ManuallyDrop<Self> {
        core::mem::ManuallyDrop::new(ProcLocked(p))
    }

    /// Finds a process by its pid, and locks it. May sleep.
    pub(crate) fn find(_: MaySleep, pid: i32) -> Option<Self> {
        // SAFETY: the caller may sleep. pfind() returns a locked process, or null.
        let p = unsafe { sys::pfind(pid) };
        // Not then_some(): if no process is found, there is no lock that a drop may release.
        (!p.is_null()).then(|| ProcLocked(Proc(p, PhantomData)))
    }

    /// Returns the process, which stays while the lock is held.
    pub(crate) fn proc(&self) -> Proc<'_> {
        self.0
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: u32) {
        // SAFETY: the process is locked, as kern_psignal() requires.
        unsafe { sys::kern_psignal(self.0.0, signal.cast_signed()) };
    }

    /// Sets `p_traceflag`.
    pub(crate) fn set_traceflag(&self, flags: u32) {
        self.0.traceflag_cell().store(flags.cast_signed(), Ordering::Relaxed);
    }

    /// Returns the trace of the process, which stays while the lock is held.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        // SAFETY: a thread that detaches a trace holds the process lock, or knows that no other
        // thread is inside the tracer.
        unsafe { self.0.any_trace().as_ref() }
    }

    /// Returns another reference to the trace.
    pub(crate) fn clone_trace(&self) -> Option<Arc<Trace>> {
        let trace = self.0.any_trace();
        if trace.is_null() {
            return None;
        }
        // SAFETY: the pointer is from Arc::into_raw(). The process holds one reference, which stays
        // while the lock is held: see trace().
        unsafe {
            Arc::increment_strong_count(trace);
            Some(Arc::from_raw(trace))
        }
    }

    /// Attaches a trace to the process, which must not have one yet.
    pub(crate) fn attach(&self, trace: Arc<Trace>) {
        self.0.trace_cell().store(Arc::into_raw(trace).cast_mut(), Ordering::Release);
    }

    /// Detaches the trace from the process.
    ///
    /// # Safety
    ///
    /// No thread has a reference from [`InKtrace::trace`] to the trace of the process. None gets one
    /// before the trace is detached.
    pub(crate) unsafe fn detach(&self) -> Option<Arc<Trace>> {
        // SAFETY: no thread inside the tracer uses the trace, as the caller guarantees. All others
        // that use it hold the process lock, which self holds now.
        unsafe { self.0.take_trace() }
    }

    /// Marks the trace of the process, which must have one, as being retired: threads that enter the
    /// tracer find none.
    pub(super) fn begin_retiring(&self) {
        let marked = self.0.any_trace().map_addr(|address| address | RETIRING);
        self.0.trace_cell().store(marked, Ordering::Relaxed);
    }

    /// Removes the mark from a trace that is being retired.
    pub(crate) fn keep_trace(&self) {
        self.0.trace_cell().store(self.0.any_trace(), Ordering::Release);
    }

    /// Returns whether a thread of the process is inside the tracer. If none is, all that the
    /// threads have done there has happened.
    pub(super) fn is_in_ktrace(&self) -> bool {
        let is_any = self.threads().any(Thread::is_in_ktrace);
        // Pairs with the end of InKtrace.
        fence(Ordering::Acquire);
        is_any
    }

    /// Returns whether the process is still being created (`PRS_NEW`).
    pub(crate) fn is_new(&self) -> bool {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_state == sys::PRS_NEW }
    }

    /// Returns whether the process is exiting (`P_WEXIT`).
    pub(crate) fn is_exiting(&self) -> bool {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_flag.cast_unsigned() & sys::P_WEXIT != 0 }
    }

    /// Returns the name of the process's program (`p_comm`), terminated by a NUL.
    pub(crate) fn comm(&self) -> [u8; MAXCOMLEN + 1] {
        // SAFETY: the process is locked.
        unsafe { (*self.0.0).p_comm }.map(byte)
    }

    /// Returns the threads of the process.
    pub(crate) fn threads(&self) -> impl Iterator<Item = Thread<'_>> {
        // SAFETY: the process lock protects the list, and self holds it.
        unsafe { threads(self.0) }
    }

    /// Returns the first thread of the process (`FIRST_THREAD_IN_PROC`).
    pub(crate) fn first_thread(&self) -> Option<Thread<'_>> {
        self.threads().next()
    }

    /// Returns whether `td` may debug the process (`p_candebug`).
    pub(crate) fn can_debug(&self, td: CurrentThread) -> bool {
        // SAFETY: the process is locked, and td is the current thread, as p_candebug() requires.
        unsafe { sys::p_candebug(td.as_ptr(), self.0.0) == 0 }
    }

    /// Returns whether `td` may see the process (`p_cansee`).
    pub(crate) fn can_see(&self, td: CurrentThread) -> bool {
        // SAFETY: the process is locked, and td is the current thread, as p_cansee() requires.
        unsafe { sys::p_cansee(td.as_ptr(), self.0.0) == 0 }
    }
}

impl Drop for ProcLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: the current thread holds the lock: Proc::lock() or pfind() took it.
        unsafe { sys::ktrace_rs_proc_unlock(self.0.0) };
    }
}

/// `allproc_lock`, held shared. Meanwhile the list of all processes does not change, and each
/// process on it stays.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct AllProc {
    _lock: SxShared,
}

impl AllProc {
    /// Takes the lock. May sleep.
    pub(crate) fn lock(may_sleep: MaySleep) -> Self {
        AllProc { _lock: SxShared::allproc(may_sleep) }
    }

    /// Returns all processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Proc<'_>> {
        // SAFETY: the list is locked for as long as self is borrowed.
        unsafe { all_processes() }
    }
}

/// `proctree_lock`, held shared. Meanwhile parents, children and process groups do not change, no
/// process is reaped, and no trace is [retired](super::retire) that its holder has seen.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct ProcTree {
    _lock: SxShared,
}

/// The number of threads that hold a [`ProcTree`].
static HOLDERS: AtomicUsize = AtomicUsize::new(0);

impl ProcTree {
    /// Takes the lock. May sleep.
    pub(crate) fn lock(may_sleep: MaySleep) -> Self {
        let lock = SxShared::proctree(may_sleep);
        HOLDERS.fetch_add(1, Ordering::Relaxed);
        ProcTree { _lock: lock }
    }

    /// Returns whether a thread that holds the lock may have seen the trace of `p`.
    ///
    /// If it has, it has locked the process since it took the tree lock. The process lock then
    /// makes its count visible here.
    pub(super) fn may_have_seen(_: &ProcLocked<'_>) -> bool {
        HOLDERS.load(Ordering::Relaxed) != 0
    }

    /// Finds a process by its pid. The process stays when its own lock is released. May sleep.
    pub(crate) fn find(&self, may_sleep: MaySleep, pid: i32) -> Option<Proc<'_>> {
        let found = ProcLocked::find(may_sleep, pid)?;
        Some(Proc(found.0.0, PhantomData))
    }

    /// Finds a process group by its number, and returns its members.
    pub(crate) fn members(&self, id: i32) -> Option<impl Iterator<Item = Proc<'_>>> {
        // SAFETY: the tree lock is held, as pgfind() requires. pgfind() returns a locked group, or
        // null. The tree lock keeps the group and its members.
        let first = unsafe {
            let pg = sys::pgfind(id);
            if pg.is_null() {
                return None;
            }
            sys::ktrace_rs_pgrp_unlock(pg);
            (*pg).pg_members.lh_first
        };
        // SAFETY: the tree lock keeps the group and its members.
        Some(list(first, |p| unsafe { (*p).p_pglist.le_next }).map(|p| Proc(p, PhantomData)))
    }

    /// Returns a process and all its descendants, each before its children.
    pub(crate) fn family<'a>(&'a self, top: Proc<'a>) -> impl Iterator<Item = Proc<'a>> {
        let mut next = Some(top);
        core::iter::from_fn(move || {
            let current = next?;
            // SAFETY: the tree is locked. The walk begins at top, and stays at or below it.
            next = unsafe { after(current.0, top.0) }.map(|p| Proc(p, PhantomData));
            Some(current)
        })
    }
}

impl Drop for ProcTree {
    fn drop(&mut self) {
        HOLDERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the processes on the list `allproc`.
///
/// # Safety
///
/// For `'a`, `allproc_lock` is held or nothing else runs.
pub(super) unsafe fn all_processes<'a>() -> impl Iterator<Item = Proc<'a>> {
    // SAFETY: the caller keeps the list from changing, so each pointer on it is valid.
    let first = unsafe { sys::allproc.lh_first };
    // SAFETY: as above.
    list(first, |p| unsafe { (*p).p_list.le_next }).map(|p| Proc(p, PhantomData))
}

/// Visits all processes that have a trace, each with its lock held. `visit` must not allocate: the
/// page daemon may need the list to free memory. May sleep.
pub(crate) fn for_traced(may_sleep: MaySleep, mut visit: impl FnMut(&ProcLocked)) {
    let all_processes = AllProc::lock(may_sleep);
    for p in all_processes.processes().filter(|p| p.has_trace()) {
        visit(&p.lock());
    }
}

/// Gathers items from all processes that have a trace. `visit` is called for each with its lock
/// held, and passes the items to its second argument. May sleep.
///
/// Nothing is allocated under the locks: the page daemon may need the list to free memory. If there
/// is no room for all items, the processes are visited again. Items without room are dropped while
/// their process is locked.
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

/// Returns the threads of a process.
///
/// # Safety
///
/// For `'a`, the process is locked or nothing else runs.
pub(super) unsafe fn threads<'a>(p: Proc<'_>) -> impl Iterator<Item = Thread<'a>> + use<'a> {
    // SAFETY: the caller keeps the list from changing, so each pointer on it is valid.
    let first = unsafe { (*p.0).p_threads.tqh_first };
    // SAFETY: as above.
    list(first, |td| unsafe { (*td).td_plist.tqe_next }).map(|td| Thread(td, PhantomData))
}

/// Returns the process that follows `p` in a walk over the family of `top`.
///
/// While a process debugs one of its ancestors, ptrace(2) makes it the parent of that ancestor. A walk
/// from one of them then comes to `top` again, and passes over it. It comes to no other process
/// twice, because a process has one parent.
///
/// # Safety
///
/// `proctree_lock` is held, and `p` is `top` or below it.
unsafe fn after(mut p: *mut sys::proc_, top: *mut sys::proc_) -> Option<*mut sys::proc_> {
    // SAFETY: the caller keeps the tree from changing. p is top or below it, so the way up leads to
    // top.
    unsafe {
        let mut next = (*p).p_children.lh_first;
        loop {
            if next == top {
                next = (*top).p_sibling.le_next;
            }
            if !next.is_null() {
                return Some(next);
            }
            if p == top {
                return None;
            }
            next = (*p).p_sibling.le_next;
            p = (*p).p_pptr;
        }
    }
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
