//! ktrace(2) and utrace(2).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_int;

use kernel_sys as sys;
use ktrace_engine::Errno;
use ktrace_format::{Kind, Payload};

use crate::helper;
use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::proc::{AllProc, CurrentThread, Proc, ProcLocked, ProcTree};
use crate::kernel::vnode::TraceVnode;
use crate::life::queue_procctor;
use crate::module;
use crate::platform::{Engine, File, Trace};
use crate::points::{encoded, prepared, write_failed};

const EBUSY: Errno = Errno(sys::EBUSY.cast_signed());
const EINVAL: Errno = Errno(sys::EINVAL.cast_signed());
const EPERM: Errno = Errno(sys::EPERM.cast_signed());
const ESRCH: Errno = Errno(sys::ESRCH.cast_signed());

/// Implements ktrace(2). May sleep.
///
/// # Safety
///
/// `td` is the current thread, `uap` points to its arguments.
pub(crate) unsafe extern "C" fn sys_ktrace(_: *mut sys::thread, uap: *mut sys::ktrace_args) -> c_int {
    // SAFETY: `uap` points to the arguments (see # Safety); a system call may sleep.
    let (uap, may_sleep) = unsafe { (&*uap, MaySleep::new()) };
    match ktrace(may_sleep, CurrentThread::get(), uap) {
        Ok(()) => 0,
        Err(Errno(errno)) => errno,
    }
}

fn ktrace(may_sleep: MaySleep, td: CurrentThread, uap: &sys::ktrace_args) -> Result<(), Errno> {
    // Flags that only the kernel sets. The stock backend lets KTRFAC_DROP through.
    let facs = uap.facs.cast_unsigned() & !(sys::KTRFAC_ROOT | sys::KTRFAC_DROP);
    let descend = uap.ops.cast_unsigned() & sys::KTRFLAG_DESCEND != 0;
    // KTROP(): the two lowest bits.
    let ops = uap.ops.cast_unsigned() & 3;
    if ops != sys::KTROP_CLEARFILE && facs == 0 {
        return Err(EINVAL);
    }
    let engine = module::engine().ok_or(EBUSY)?;
    let open = || TraceVnode::open(may_sleep, td, uap.fname);
    // Dropped last, with nothing locked.
    let operation = match ops {
        sys::KTROP_SET => {
            Operation::Set(File::new(may_sleep, Arc::clone(&engine), open()?).shared(may_sleep))
        }
        sys::KTROP_CLEAR => Operation::Clear,
        sys::KTROP_CLEARFILE => Operation::ClearFile(open()?),
        // Any other number clears as well, but requires a file.
        _ => open().map(|_| Operation::Clear)?,
    };
    let Some(_inside) = InKtrace::enter() else { return Err(EBUSY) };
    let mut change = Change { td, facs, may_sleep, spare: Vec::new(), ended: Vec::new() };
    let result = match &operation {
        Operation::Set(file) => {
            let result = change.by_id(&engine, uap.pid, descend, Some(file));
            helper::wake();
            result
        }
        Operation::Clear => change.by_id(&engine, uap.pid, descend, None),
        Operation::ClearFile(file) => change.clear_file(file),
    };
    change.finish();
    result
}

/// An operation of ktrace(2), with the file that was opened for it.
enum Operation {
    Set(Arc<File>),
    Clear,
    ClearFile(TraceVnode),
}

/// Stops all tracing before an unload, and leaves the files to the helper, which writes and closes
/// them. Calls `give` with each file first. May sleep, but waits for no file.
pub(crate) fn stop_all_tracing(may_sleep: MaySleep, engine: &Engine, mut give: impl FnMut(&Arc<File>)) {
    let Some(inside) = InKtrace::enter() else { return };
    let mut change = Change {
        td: inside.thread(),
        facs: sys::KTRFAC_MASK,
        may_sleep,
        spare: Vec::new(),
        ended: Vec::new(),
    };
    change.for_all(|change, p| {
        if p.trace().is_some() {
            change.end(p);
        }
    });
    for Ended { file, .. } in change.ended {
        give(&file);
        engine.leave(file);
    }
}

/// A trace that has ended, or goes to another file now.
struct Ended {
    trace: Arc<Trace>,
    /// The file that it went to before.
    file: Arc<File>,
}

/// A change to the tracing of some processes, by a thread that is inside the tracer.
struct Change {
    td: CurrentThread,
    facs: u32,
    may_sleep: MaySleep,
    /// Traces for processes that have none yet.
    spare: Vec<Arc<Trace>>,
    /// The ended traces. Their queued records are written, and their files closed, once nothing is
    /// locked.
    ended: Vec<Ended>,
}

impl Change {
    /// Changes the process `pid`, or a process group if `pid` is negative. Without a file, clears
    /// facilities.
    ///
    /// Nothing is allocated under the lock of the tree: the processes are counted first. If there
    /// are more than there is room for, the lock is released meanwhile, and they are counted again.
    fn by_id(
        &mut self,
        engine: &Arc<Engine>,
        pid: i32,
        descend: bool,
        file: Option<&Arc<File>>,
    ) -> Result<(), Errno> {
        loop {
            let tree = ProcTree::lock(self.may_sleep);
            let (mut all, mut new) = (0_usize, 0_usize);
            each(self.may_sleep, &tree, pid, descend, |p| {
                all = all.saturating_add(1);
                // As without a file: a child that is still being created may be finished by then.
                if let Some(locked) = self.changeable(p, None) {
                    new = new.saturating_add(usize::from(file.is_some() && locked.trace().is_none()));
                }
            })?;
            if self.has_room(all, new) {
                let mut changed = false;
                each(self.may_sleep, &tree, pid, descend, |p| changed |= self.one(p, file))?;
                return if changed { Ok(()) } else { Err(EPERM) };
            }
            drop(tree);
            self.make_room(engine, all, new, file);
        }
    }

    /// Returns the process with its lock held, or `None` if the caller may not change its tracing
    /// or, with a file, nobody may.
    fn changeable<'a>(&self, p: Proc<'a>, file: Option<&Arc<File>>) -> Option<ProcLocked<'a>> {
        let locked = p.lock();
        let is_new = file.is_some() && locked.is_new();
        (self.may_change(&locked) && !is_new && locked.can_see(self.td)).then_some(locked)
    }

    /// Changes one process. Returns false if the caller may not.
    fn one(&mut self, p: Proc<'_>, file: Option<&Arc<File>>) -> bool {
        let Some(locked) = self.changeable(p, file) else { return false };
        if locked.is_exiting() {
            // An exiting process needs no change, and is no error.
            return true;
        }
        match file {
            Some(file) => self.set(&locked, file),
            None => {
                let before = p.traceflag();
                let flags = before & !self.facs;
                if flags & sys::KTRFAC_MASK == 0 {
                    self.end(&locked);
                } else {
                    locked.set_traceflag(flags);
                    if before & !flags & Kind::Sysret.facility() != 0 {
                        // Under the policy `return`, the record of the call's return would have
                        // written the call's records.
                        locked.threads().for_each(|thread| thread.schedule_drain());
                    }
                }
            }
        }
        if p.traceflag() & sys::KTRFAC_MASK != 0 {
            queue_procctor(&locked);
        }
        true
    }

    /// Returns whether there is room to change `all` processes at the most, `new` of which have no
    /// trace yet.
    fn has_room(&self, all: usize, new: usize) -> bool {
        self.spare.len() >= new && self.ended.capacity().saturating_sub(self.ended.len()) >= all
    }

    /// Makes room to change `all` processes, `new` of which have no trace yet, and for those that
    /// may begin meanwhile. May sleep.
    fn make_room(&mut self, engine: &Arc<Engine>, all: usize, new: usize, file: Option<&Arc<File>>) {
        self.ended.reserve(all.saturating_add(all / 8));
        let Some(file) = file else { return };
        while self.spare.len() < new.saturating_add(new / 8) {
            let trace = Trace::new(Arc::clone(engine), self.may_sleep);
            trace.stock(self.may_sleep, file);
            self.spare.push(trace);
        }
    }

    fn set(&mut self, p: &ProcLocked<'_>, file: &Arc<File>) {
        if p.trace().is_some() {
            p.keep_trace();
        } else if !module::is_leaving()
            && let Some(spare) = self.spare.pop()
        {
            p.attach(spare);
        }
        let Some(trace) = p.clone_trace() else { return };
        // After a set-id exec the trace may still have its file, but the process is not traced.
        let traced = p.proc().traceflag() != 0;
        let same =
            traced && trace.with_file(|old| old.is_some_and(|old| old.storage().same_file(file.storage())));
        // If this reference is dropped here, it is not the last one: the process holds another.
        if !same && let Some(old) = trace.set_file(Some(Arc::clone(file))) {
            self.ended.push(Ended { trace, file: old });
        }
        let root = if self.td.has_privilege(sys::PRIV_KTRACE) { sys::KTRFAC_ROOT } else { 0 };
        p.set_traceflag(p.proc().traceflag() | self.facs | root);
    }

    /// Ends the tracing of one process.
    fn end(&mut self, p: &ProcLocked<'_>) {
        p.set_traceflag(0);
        // If this reference is dropped here, it is not the last one: the process holds another.
        if let Some(trace) = p.clone_trace()
            && let Some(old) = trace.set_file(None)
        {
            self.ended.push(Ended { trace, file: old });
        }
    }

    /// Ends all tracing to a file. Returns `EPERM` if the caller may not end some of it.
    fn clear_file(&mut self, file: &TraceVnode) -> Result<(), Errno> {
        let mut result = Ok(());
        self.for_all(|change, p| {
            let uses =
                |trace: &Trace| trace.with_file(|old| old.is_some_and(|old| old.storage().same_file(file)));
            if p.trace().is_some_and(uses) {
                if change.may_change(p) {
                    change.end(p);
                } else {
                    result = Err(EPERM);
                }
            }
        });
        result
    }

    /// Calls `work` with each process. Repeats the walk if it runs out of room for ended traces.
    /// Nothing is allocated under `allproc_lock`, because a thread that frees memory may need the
    /// list.
    fn for_all(&mut self, mut work: impl FnMut(&mut Self, &ProcLocked<'_>)) {
        loop {
            self.ended.reserve(1);
            let lacks_room = {
                let allproc = AllProc::lock(self.may_sleep);
                allproc.processes().any(|p| {
                    let lacks_room = self.ended.len() == self.ended.capacity();
                    if !lacks_room {
                        work(self, &p.lock());
                    }
                    lacks_room
                })
            };
            if !lacks_room {
                return;
            }
        }
    }

    /// Returns whether the caller may change the tracing of a process. The caller must be allowed
    /// to debug the process and, if root has set its tracing, have root's privilege.
    fn may_change(&self, p: &ProcLocked<'_>) -> bool {
        let by_root = p.proc().traceflag() & sys::KTRFAC_ROOT != 0;
        (!by_root || self.td.has_privilege(sys::PRIV_KTRACE)) && p.can_debug(self.td)
    }

    /// Writes the queued records of the ended traces, and closes their files. Nothing is locked.
    ///
    /// If there are several files, the helper writes the others while this thread hangs with one. It
    /// then retires the traces.
    fn finish(self) {
        let any = !self.ended.is_empty();
        let engine = module::engine().filter(|_| self.ended.len() > 1);
        if let Some(engine) = &engine {
            self.ended.iter().for_each(|ended| engine.leave(Arc::clone(&ended.file)));
        }
        for Ended { trace, file } in self.ended {
            write_failed(self.may_sleep, trace.flush(self.may_sleep, &file));
            if let Some(engine) = &engine {
                engine.take_left(&file);
            }
        }
        if any {
            helper::wake();
        }
    }
}

/// Calls `visit` with the process `pid`, or with all members of a process group if `pid` is negative,
/// and with their descendants if `descend`. Returns `ESRCH` if there is none. May sleep.
fn each<'a>(
    may_sleep: MaySleep,
    tree: &'a ProcTree,
    pid: i32,
    descend: bool,
    mut visit: impl FnMut(Proc<'a>),
) -> Result<(), Errno> {
    let mut one_or_family = |top| {
        if descend { tree.family(top).for_each(&mut visit) } else { visit(top) }
    };
    if pid >= 0 {
        one_or_family(tree.find(may_sleep, pid).ok_or(ESRCH)?);
        return Ok(());
    }
    let mut members = tree.members(pid.wrapping_neg()).ok_or(ESRCH)?.peekable();
    members.peek().ok_or(ESRCH)?;
    members.for_each(one_or_family);
    Ok(())
}

/// Implements utrace(2). May sleep.
///
/// # Safety
///
/// `td` is the current thread, `uap` points to its arguments.
pub(crate) unsafe extern "C" fn sys_utrace(_: *mut sys::thread, uap: *mut sys::utrace_args) -> c_int {
    // SAFETY: `uap` points to the arguments (see # Safety); a system call may sleep.
    let (uap, may_sleep) = unsafe { (&*uap, MaySleep::new()) };
    if CurrentThread::get().proc().traceflag() & Kind::User.facility() == 0 {
        return 0;
    }
    if uap.len > sys::KTR_USER_MAXLEN as usize {
        return EINVAL.0;
    }
    let fill = |data: *mut u8| {
        // SAFETY: copyin(9) checks the address of user space, and `data` has room for len bytes.
        unsafe { sys::copyin(uap.addr, data.cast(), uap.len) }
    };
    // SAFETY: copyin(9) writes all of the bytes, or returns an errno.
    match unsafe { prepared(may_sleep, &Payload::User(&[]), uap.len, fill) } {
        Ok(mut record) => {
            encoded(may_sleep, Kind::User, &mut record);
            0
        }
        Err(Errno(errno)) => errno,
    }
}
