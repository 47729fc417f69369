//! Processes: the lists that the module walks, and fork and exit as the kernel does them.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, violation};
use crate::kvar::variables;
use crate::lock::{mtx_init_twice, mtx_lock, mtx_unlock, sx_init_flags, sx_xlock, sx_xunlock, wakeup};
use crate::sched::{self, Sleep, point};
use crate::thread::{self, Kt, copy_name, text_of};
use crate::witness::{self, Kind};
use crate::{cred, event, flaw, link, user};

/// A process of the stand-in. It is never freed, as in a kernel, where `struct proc` is
/// type-stable.
#[repr(C)]
pub struct Kp {
    /// The `struct proc`. First, so that both have the same address.
    p: UnsafeCell<sys::proc_>,
    /// The `ps_mtx` of its signal actions.
    sigacts: UnsafeCell<sys::mtx>,
    /// Signals to be delivered.
    pub(crate) pending: AtomicU64,
    /// Whether the process has exited.
    exited: AtomicBool,
    /// `RLIMIT_FSIZE`.
    pub(crate) file_size: AtomicU64,
}

// SAFETY: the structure that the module sees is shared as in a kernel; the rest is atomic or
// locked.
unsafe impl Sync for Kp {}
// SAFETY: as for Sync.
unsafe impl Send for Kp {}

/// The `sv_flags` of all processes: `SV_ABI_FREEBSD | SV_LP64 | …`.
pub(crate) const SV_FLAGS: u32 = 0x000a_2109;

struct Table {
    lock: UnsafeCell<sys::sx>,
    processes: HostLock<BTreeMap<i32, usize>>,
}

// SAFETY: threads may share the sx lock, and a HostLock guards the map.
unsafe impl Sync for Table {}
// SAFETY: as for Sync.
unsafe impl Send for Table {}

static TABLE: OnceLock<Table> = OnceLock::new();
static PIDS: AtomicI32 = AtomicI32::new(0);
static SYSENTVEC: OnceLock<usize> = OnceLock::new();
static INIT: OnceLock<&'static Kp> = OnceLock::new();

fn table() -> &'static Table {
    TABLE.get_or_init(|| {
        // SAFETY: an all-zero struct sx is valid and unused.
        let lock = UnsafeCell::new(unsafe { std::mem::zeroed() });
        Table { lock, processes: HostLock::new(BTreeMap::new()) }
    })
}

fn sysentvec() -> *mut sys::sysentvec {
    *SYSENTVEC.get_or_init(|| {
        // SAFETY: an all-zero struct sysentvec is valid.
        let mut vector: sys::sysentvec = unsafe { std::mem::zeroed() };
        vector.sv_flags = SV_FLAGS as _;
        Box::into_raw(Box::new(vector)) as usize
    }) as *mut sys::sysentvec
}

/// Inserts at the head of a queue(3) list, so that readers can follow the list at any moment.
macro_rules! list_insert_head {
    ($head:expr, $element:expr, $link:ident) => {{
        let (head, element) = (&raw mut $head, $element);
        let first = (*head).lh_first;
        (*element).$link.le_next = first;
        if !first.is_null() {
            (*first).$link.le_prev = &raw mut (*element).$link.le_next;
        }
        std::ptr::write_volatile(&raw mut (*head).lh_first, element);
        (*element).$link.le_prev = &raw mut (*head).lh_first;
    }};
}

/// Removes an element from a queue(3) list.
macro_rules! list_remove {
    ($element:expr, $link:ident) => {{
        let element = $element;
        let next = (*element).$link.le_next;
        if !next.is_null() {
            (*next).$link.le_prev = (*element).$link.le_prev;
        }
        std::ptr::write_volatile((*element).$link.le_prev, next);
    }};
}

/// Creates the first process, and init(8), and starts the CPUs. The caller becomes the first
/// process's first thread.
pub(crate) fn boot() {
    crate::witness::init();
    let first = Kp::allocate("standin", cred::Cred::allocate(0, 0));
    let kt = Kt::new(first, "standin");
    sched::start(kt);
    crate::kvar::init_locks();
    event::init_locks();
    // SAFETY: no other thread uses the lock yet.
    unsafe { sx_init_flags(table().lock.get(), c"pidhash".as_ptr(), 0) };
    first.init_locks();
    let group = Kp::new_group(first.pid());
    first.insert(None, group);
    first.add_thread(kt);
    // SAFETY: no other thread uses the process yet.
    unsafe { (*first.as_ptr()).p_state = sys::PRS_NORMAL };
    assert!(INIT.set(first).is_ok(), "the stand-in boots once");
}

impl Kp {
    /// Returns the process that a `struct proc` belongs to.
    ///
    /// # Safety
    ///
    /// `p` points to the `struct proc` of a [`Kp`].
    pub(crate) unsafe fn of(p: *mut sys::proc_) -> &'static Kp {
        // SAFETY: `p` belongs to a Kp (see # Safety), and processes are never freed.
        unsafe { &*p.cast::<Kp>() }
    }

    /// Returns its `struct proc`.
    pub fn as_ptr(&self) -> *mut sys::proc_ {
        self.p.get()
    }

    fn allocate(comm: &str, cred: *mut sys::ucred) -> &'static Kp {
        // SAFETY: an all-zero struct proc and struct mtx are valid and unused.
        let (p, sigacts) = unsafe { (std::mem::zeroed::<sys::proc_>(), std::mem::zeroed()) };
        let kp = Box::leak(Box::new(Kp {
            p: UnsafeCell::new(p),
            sigacts: UnsafeCell::new(sigacts),
            pending: AtomicU64::new(0),
            exited: AtomicBool::new(false),
            file_size: AtomicU64::new(i64::MAX as u64),
        }));
        // SAFETY: no other thread has the process yet.
        unsafe {
            let p = &mut *kp.p.get();
            p.p_pid = PIDS.fetch_add(1, Ordering::Relaxed) + 1;
            p.p_state = sys::PRS_NEW;
            p.p_flag = sys::P_INMEM.cast_signed();
            p.p_ucred = cred;
            p.p_sysent = sysentvec();
            p.p_threads.tqh_last = &raw mut p.p_threads.tqh_first;
            copy_name(comm, &mut p.p_comm);
        }
        kp
    }

    fn init_locks(&self) {
        // SAFETY: no other thread uses the locks yet.
        unsafe {
            mtx_init_twice(&raw mut (*self.as_ptr()).p_mtx, c"process lock");
            mtx_init_twice(self.sigacts.get(), c"sigacts");
        }
    }

    /// Creates a child of a process, still in `PRS_NEW`, with one thread that does not run yet. May
    /// sleep.
    pub(crate) fn new(
        parent: &Kp,
        comm: &str,
        uid: u32,
        group: Option<*mut sys::pgrp>,
    ) -> (&'static Kp, &'static Kt) {
        let kp = Kp::allocate(comm, cred::Cred::allocate(uid, parent.cred().jail()));
        kp.init_locks();
        let kt = Kt::new(kp, comm);
        kp.add_thread(kt);
        // SAFETY: the parent's process group does not change.
        kp.insert(Some(parent), group.unwrap_or_else(|| unsafe { (*parent.as_ptr()).p_pgrp }));
        (kp, kt)
    }

    /// Creates a process group without members.
    pub(crate) fn new_group(id: i32) -> *mut sys::pgrp {
        // SAFETY: an all-zero struct pgrp is valid and unused.
        let group = Box::into_raw(Box::new(unsafe { std::mem::zeroed::<sys::pgrp>() }));
        // SAFETY: no other thread has the group yet.
        unsafe {
            (*group).pg_id = id;
            mtx_init_twice(&raw mut (*group).pg_mtx, c"process group");
        }
        group
    }

    /// Puts the process on the kernel's lists.
    fn insert(&self, parent: Option<&Kp>, group: *mut sys::pgrp) {
        let (v, p) = (variables(), self.as_ptr());
        // SAFETY: each list is changed with its locks held, taken in fork(2)'s order.
        unsafe {
            sx_xlock(&raw mut (*v).proctree_lock);
            sx_xlock(&raw mut (*v).allproc_lock);
            list_insert_head!((*v).allproc, p, p_list);
            sx_xunlock(&raw mut (*v).allproc_lock);
            sx_xlock(table().lock.get());
            table().processes.lock().insert(self.pid(), p as usize);
            sx_xunlock(table().lock.get());
            (*p).p_pgrp = group;
            mtx_lock(&raw mut (*group).pg_mtx);
            list_insert_head!((*group).pg_members, p, p_pglist);
            mtx_unlock(&raw mut (*group).pg_mtx);
            if let Some(parent) = parent {
                (*p).p_pptr = parent.as_ptr();
                list_insert_head!((*parent.as_ptr()).p_children, p, p_sibling);
            }
            sx_xunlock(&raw mut (*v).proctree_lock);
        }
    }

    /// Removes the process from the kernel's lists. Its children pass to init(8).
    fn take_off(&self) {
        let (v, p) = (variables(), self.as_ptr());
        let init = INIT.get().expect("booted").as_ptr();
        // SAFETY: as in insert().
        unsafe {
            sx_xlock(&raw mut (*v).proctree_lock);
            sx_xlock(&raw mut (*v).allproc_lock);
            list_remove!(p, p_list);
            sx_xunlock(&raw mut (*v).allproc_lock);
            sx_xlock(table().lock.get());
            table().processes.lock().remove(&self.pid());
            sx_xunlock(table().lock.get());
            while !(*p).p_children.lh_first.is_null() {
                let child = (*p).p_children.lh_first;
                list_remove!(child, p_sibling);
                self.lock_of(child);
                (*child).p_pptr = init;
                self.unlock_of(child);
                list_insert_head!((*init).p_children, child, p_sibling);
            }
            let group = (*p).p_pgrp;
            mtx_lock(&raw mut (*group).pg_mtx);
            list_remove!(p, p_pglist);
            mtx_unlock(&raw mut (*group).pg_mtx);
            list_remove!(p, p_sibling);
            sx_xunlock(&raw mut (*v).proctree_lock);
        }
    }

    fn lock_of(&self, p: *mut sys::proc_) {
        // SAFETY: `p` belongs to a Kp, and processes are never freed.
        unsafe { Kp::of(p) }.lock();
    }

    fn unlock_of(&self, p: *mut sys::proc_) {
        // SAFETY: `p` belongs to a Kp, and processes are never freed.
        unsafe { Kp::of(p) }.unlock();
    }

    /// Takes the process lock.
    pub fn lock(&self) {
        // SAFETY: the lock was initialised when the process was created.
        unsafe { mtx_lock(&raw mut (*self.as_ptr()).p_mtx) };
    }

    /// Releases the process lock.
    pub fn unlock(&self) {
        // SAFETY: the lock was initialised when the process was created.
        unsafe { mtx_unlock(&raw mut (*self.as_ptr()).p_mtx) };
    }

    /// Runs `work` with `ps_mtx` held.
    pub(crate) fn with_sigacts<R>(&self, work: impl FnOnce() -> R) -> R {
        // SAFETY: the mutex was initialised when the process was created.
        unsafe { mtx_lock(self.sigacts.get()) };
        let result = work();
        // SAFETY: taken above.
        unsafe { mtx_unlock(self.sigacts.get()) };
        result
    }

    pub(crate) fn assert_locked(&self, what: &str) {
        // SAFETY: only the address is taken.
        let address = unsafe { &raw const (*self.as_ptr()).p_mtx.mtx_lock } as usize;
        if !witness::has(address, Kind::Mutex) {
            violation!(LockUse, "{what} of a process that is not locked");
        }
    }

    /// Returns the process ID.
    pub fn pid(&self) -> i32 {
        // SAFETY: the field does not change.
        unsafe { (*self.as_ptr()).p_pid }
    }

    pub(crate) fn uid(&self) -> u32 {
        // SAFETY: credentials are never freed.
        unsafe { (*(*self.as_ptr()).p_ucred).cr_uid }
    }

    pub(crate) fn cred(&self) -> &'static cred::Cred {
        // SAFETY: credentials are never freed.
        unsafe { &*(*self.as_ptr()).p_ucred.cast() }
    }

    /// Puts the process into a jail.
    pub fn enter_jail(&self, jail: i32) {
        self.cred().set_jail(jail);
    }

    pub(crate) fn flag(&self) -> u32 {
        // SAFETY: the field stays valid; a volatile read tolerates concurrent changes.
        unsafe { (&raw const (*self.as_ptr()).p_flag).read_volatile().cast_unsigned() }
    }

    /// Returns the name of the process.
    pub(crate) fn comm(&self) -> String {
        // SAFETY: the name ends with a NUL.
        unsafe { text_of((&raw const (*self.as_ptr()).p_comm).cast()) }
    }

    /// Returns `p_traceflag`.
    pub fn traceflag(&self) -> u32 {
        // SAFETY: processes are never freed; the field is read as KTRPOINT() reads it.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.as_ptr()).p_traceflag) }
            .load(Ordering::Relaxed)
            .cast_unsigned()
    }

    /// Sets `p_traceflag`, as the stock backend would.
    pub(crate) fn set_traceflag(&self, flags: u32) {
        // SAFETY: processes are never freed.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.as_ptr()).p_traceflag) }
            .store(flags.cast_signed(), Ordering::Relaxed);
    }

    /// Returns whether the process has exited.
    pub fn has_exited(&self) -> bool {
        self.exited.load(Ordering::Acquire)
    }

    /// Waits until the process has exited. May sleep.
    pub fn wait(&self) {
        while !self.has_exited() {
            let sleep = Sleep::prepare();
            if !self.has_exited() {
                sleep.on(self.channel(), c"wait".as_ptr(), sys::TDI_SLEEPING, None);
            }
        }
    }

    fn channel(&self) -> usize {
        &raw const self.exited as usize
    }

    /// Adds a thread to the list of the process.
    pub(crate) fn add_thread(&self, kt: &Kt) {
        self.lock();
        // SAFETY: the process is locked.
        unsafe {
            let (p, td) = (self.as_ptr(), kt.as_ptr());
            (*td).td_plist.tqe_next = null_mut();
            (*td).td_plist.tqe_prev = (*p).p_threads.tqh_last;
            std::ptr::write_volatile((*p).p_threads.tqh_last, td);
            (*p).p_threads.tqh_last = &raw mut (*td).td_plist.tqe_next;
            (*p).p_numthreads += 1;
        }
        self.unlock();
    }

    /// Removes a thread from the process. Returns false for the last thread, which stays.
    fn remove_thread(&self, kt: &Kt) -> bool {
        self.lock();
        // SAFETY: the process is locked.
        let removed = unsafe {
            let (p, td) = (self.as_ptr(), kt.as_ptr());
            if (*p).p_numthreads == 1 {
                (*p).p_flag |= sys::P_WEXIT.cast_signed();
                false
            } else {
                let next = (*td).td_plist.tqe_next;
                match next.is_null() {
                    false => (*next).td_plist.tqe_prev = (*td).td_plist.tqe_prev,
                    true => (*p).p_threads.tqh_last = (*td).td_plist.tqe_prev,
                }
                std::ptr::write_volatile((*td).td_plist.tqe_prev, next);
                (*p).p_numthreads -= 1;
                true
            }
        };
        self.unlock();
        removed
    }

    /// Returns the first thread.
    pub fn first_thread(&self) -> &'static Kt {
        // SAFETY: a process in use here has a thread, and threads are never freed.
        unsafe { Kt::of((*self.as_ptr()).p_threads.tqh_first) }
    }

    /// Posts a signal to the process, for its first thread to deliver. The process must be locked.
    pub(crate) fn post(&self, signal: u32) {
        self.assert_locked("kern_psignal()");
        self.pending.fetch_or(1 << signal, Ordering::SeqCst);
        self.first_thread().schedule_ast(sys::TDA_SIG);
    }

    /// Returns whether a signal is pending. A pending signal interrupts the sleeps of the process's
    /// threads.
    pub(crate) fn has_signal(&self) -> bool {
        self.pending.load(Ordering::SeqCst) != 0
    }
}

/// Ends the current thread. The last thread also ends its process.
pub(crate) fn thread_exit() {
    let kt = current();
    let kp = kt.proc();
    if !kp.remove_thread(kt) {
        exit1(kt, kp);
    }
    if !witness::held(kt).is_empty() {
        violation!(Return, "a thread exits with locks");
    }
    sched::leave_for_good(kt);
}

/// Ends the process, as the kernel's exit1() does.
fn exit1(kt: &Kt, kp: &Kp) {
    event::process_exits();
    user::process_exit(kt);
    // SAFETY: only the last thread of the process reads the field here.
    if unsafe { !(*kp.as_ptr()).p_ktrioparms.is_null() } && link::is_loaded() {
        violation!(Leak, "pid {} has exited with a trace", kp.pid());
    }
    kp.take_off();
    kp.lock();
    // SAFETY: the process is locked.
    unsafe {
        (*kp.as_ptr()).p_state = sys::PRS_ZOMBIE;
        (*kp.as_ptr()).p_threads.tqh_first = null_mut();
    }
    kp.unlock();
    kp.exited.store(true, Ordering::Release);
    sched::wake(kp.channel());
}

// ---- kernel functions that the module calls ----

pub(crate) unsafe extern "C" fn pfind(pid: c_int) -> *mut sys::proc_ {
    point();
    // SAFETY: the table's lock is initialised, and lives for good.
    unsafe { crate::lock::_sx_slock(table().lock.get(), 0, null(), 0) };
    let found = table().processes.lock().get(&pid).copied();
    let p = found.map_or(null_mut(), |p| {
        let p = p as *mut sys::proc_;
        // SAFETY: processes are never freed.
        let kp = unsafe { Kp::of(p) };
        kp.lock();
        // SAFETY: the process is locked.
        if unsafe { (*p).p_state } == sys::PRS_NEW {
            kp.unlock();
            return null_mut();
        }
        p
    });
    // SAFETY: taken above.
    unsafe { crate::lock::_sx_sunlock(table().lock.get(), null(), 0) };
    p
}

pub(crate) unsafe extern "C" fn pgfind(id: c_int) -> *mut sys::pgrp {
    point();
    let all = table().processes.lock().values().copied().collect::<Vec<_>>();
    for p in all {
        // SAFETY: processes and groups are never freed.
        unsafe {
            let group = (*(p as *mut sys::proc_)).p_pgrp;
            if !group.is_null() && (*group).pg_id == id {
                mtx_lock(&raw mut (*group).pg_mtx);
                return group;
            }
        }
    }
    null_mut()
}

pub(crate) unsafe extern "C" fn kern_psignal(p: *mut sys::proc_, signal: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { Kp::of(p) }.post(signal.cast_unsigned());
}

pub(crate) unsafe extern "C" fn lim_cur(td: *mut sys::thread, _: c_int) -> sys::rlim_t {
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { Kt::of(td) }.proc().file_size.load(Ordering::Relaxed).cast_signed()
}

/// Whether there are as many processes as there can be.
static NO_MORE: AtomicBool = AtomicBool::new(false);

/// Lets kproc_create(9) fail, or succeed again.
pub(crate) fn refuse_more(refuse: bool) {
    NO_MORE.store(refuse, Ordering::Release);
}

/// Creates a kernel process. The one argument after the format is a name: the module uses no format
/// but `%s`.
pub(crate) unsafe extern "C" fn kproc_create(
    function: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    process: *mut *mut sys::proc_,
    _: c_int,
    _: c_int,
    format: *const c_char,
    name: *const c_char,
) -> c_int {
    witness::may_sleep(current(), format_args!("kproc_create()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let (format, name) = unsafe { (CStr::from_ptr(format), text_of(name)) };
    if format != c"%s" {
        violation!(Call, "kproc_create() with another format");
    }
    if NO_MORE.load(Ordering::Acquire) {
        return sys::EAGAIN.cast_signed();
    }
    let (kp, kt) = Kp::new(INIT.get().expect("booted"), &name, 0, None);
    kp.lock();
    // SAFETY: the process is locked; the caller keeps the contract of kproc_create(9).
    unsafe {
        (*kp.as_ptr()).p_flag |= sys::P_KPROC.cast_signed();
        (*kp.as_ptr()).p_state = sys::PRS_NORMAL;
        *process = kp.as_ptr();
    }
    kp.unlock();
    let (function, argument) = (function as usize, argument as usize);
    let body = move || {
        // SAFETY: the caller of kproc_create(9) guarantees that the function may be called.
        unsafe {
            let function: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(function);
            thread::call_escapable(function, argument as *mut c_void);
        }
    };
    thread::start(kt, Box::new(body));
    0
}

pub(crate) unsafe extern "C" fn kproc_exit(_: c_int) -> ! {
    let kt = current();
    if !witness::held(kt).is_empty() {
        violation!(Return, "a kernel process exits with locks");
    }
    if !flaw::shows(flaw::Other::NotWoken, 1) {
        // SAFETY: wakeup() uses only the address.
        unsafe { wakeup(kt.proc().as_ptr().cast()) };
    }
    thread::escape();
}
