//! Trace files: vnodes that records are appended to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};

use kernel_sys as sys;
use ktrace_engine::{Errno, Storage, User};

use super::context::{InKtrace, MaySleep};
use super::lock::FILE;
use super::proc::CurrentThread;

const OPEN_FLAGS: u32 = sys::FREAD | sys::FWRITE;

/// The most bytes that every local file system writes at once. One that sends a larger write in
/// several parts may report a failure and keep the first parts.
const WRITTEN_AT_ONCE: usize = 512;

/// `RLIM_INFINITY`.
const UNLIMITED: i64 = i64::MAX;

const ENOENT: c_int = sys::ENOENT.cast_signed();
const EFBIG: Errno = Errno(sys::EFBIG.cast_signed());
const EIO: Errno = Errno(sys::EIO.cast_signed());

/// Number of files opened so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// A regular file opened for tracing, with the credential that writes it. Its size limit and its
/// name are those at the time of opening.
///
/// Dropping it closes the file. May sleep.
pub(crate) struct TraceVnode {
    vp: *mut sys::vnode,
    cred: *mut sys::ucred,
    limit: i64,
    name: Arc<[u8]>,
    number: u64,
    interrupted: Interrupted,
}

/// Writes to a server that signals have interrupted since the last one that succeeded. Protected by
/// the vnode lock.
///
/// The server may carry out each of them at any time, even after later writes. The engine writes
/// the same bytes again, before any others. If it does so at the same offset, a late write does no
/// harm. A late truncation would, so the file is not cut.
struct Interrupted {
    /// Size of the file before the first one, which is where all of them write, or -1 if there is
    /// none.
    offset: AtomicI64,
    /// Most bytes by which they make the file grow.
    len: AtomicI64,
}

impl Interrupted {
    fn none() -> Self {
        Interrupted { offset: AtomicI64::new(-1), len: AtomicI64::new(0) }
    }

    /// Notes that a write of `len` bytes at `offset` was interrupted.
    fn note(&self, offset: i64, len: usize) {
        self.offset.store(offset, Ordering::Relaxed);
        self.len.fetch_max(length(len), Ordering::Relaxed);
    }

    fn forget(&self) {
        self.offset.store(-1, Ordering::Relaxed);
        self.len.store(0, Ordering::Relaxed);
    }
}

// SAFETY: threads may share vnodes and credentials. All other fields are constant or atomic.
unsafe impl Send for TraceVnode {}
// SAFETY: as above.
unsafe impl Sync for TraceVnode {}

impl TraceVnode {
    /// Opens the file at a path in user space for tracing by `td`, with that thread's credential
    /// and `RLIMIT_FSIZE`. May sleep.
    ///
    /// Returns `EACCES` if it is not a regular file, otherwise the errno of vn_open(9). A symbolic
    /// link is not followed.
    pub(crate) fn open(
        may_sleep: MaySleep,
        td: CurrentThread,
        user_path: *const c_char,
    ) -> Result<Self, Errno> {
        let mut vp = core::ptr::null_mut();
        let flags = (OPEN_FLAGS | sys::O_NOFOLLOW).cast_signed();
        // SAFETY: the caller may sleep. The path is an address in user space, which namei(9)
        // checks.
        let error = unsafe { sys::ktrace_rs_vn_open(user_path, flags, &raw mut vp) };
        if error != 0 {
            return Err(Errno(error));
        }
        // SAFETY: vn_open(9) returned the vnode locked and referenced. td is the current thread,
        // whose credential and limits stay.
        let mut file = unsafe {
            vn_unlock(vp);
            TraceVnode {
                vp,
                cred: sys::crhold((*td.as_ptr()).td_ucred),
                limit: sys::lim_cur(td.as_ptr(), sys::RLIMIT_FSIZE.cast_signed()),
                name: Arc::default(),
                number: OPENED.fetch_add(1, Ordering::Relaxed),
                interrupted: Interrupted::none(),
            }
        };
        // SAFETY: the vnode is referenced.
        if unsafe { !sys::ktrace_rs_vn_is_regular(vp) } {
            return Err(Errno(sys::EACCES.cast_signed()));
        }
        file.name = file.find_name(may_sleep).unwrap_or_default();
        Ok(file)
    }

    /// Returns whether both are the same file.
    pub(crate) fn same_file(&self, other: &TraceVnode) -> bool {
        self.vp == other.vp
    }

    /// Returns the vnode, with one more reference if `reference` is set.
    pub(crate) fn vnode(&self, reference: bool) -> *mut sys::vnode {
        if reference {
            // SAFETY: the vnode is already referenced, as vrefact() requires.
            unsafe { sys::vrefact(self.vp) };
        }
        self.vp
    }

    /// Returns the name that the file had when it was opened, from the root of the process that
    /// opened it. The name is empty if it had none. Does not wait for the vnode.
    pub(crate) fn name(&self) -> &Arc<[u8]> {
        &self.name
    }

    /// Returns the file's place in the order in which files were opened.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether the current thread may see the user who opened the file (`cr_cansee`).
    pub(crate) fn can_be_seen(&self, td: CurrentThread) -> bool {
        // SAFETY: self holds a reference to its credential, and the current thread to its own.
        unsafe { sys::cr_cansee((*td.as_ptr()).td_ucred, self.cred) == 0 }
    }

    /// Finds a name of the file, from the root of the current process. Returns `None` if it has
    /// none. Waits for the vnode if the name cache does not have the name.
    fn find_name(&self, _: MaySleep) -> Option<Arc<[u8]>> {
        let (mut name, mut buffer) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: the caller may sleep. The vnode is referenced, and not locked by this thread. The
        // name is a string in the buffer, which must be freed here.
        unsafe {
            if sys::vn_fullpath(self.vp, &raw mut name, &raw mut buffer) != 0 {
                return None;
            }
            let path = Arc::from(CStr::from_ptr(name).to_bytes());
            sys::free(buffer.cast(), (&raw mut sys::M_TEMP).cast());
            Some(path)
        }
    }

    /// Returns a number that identifies the file system, or zero if it is gone.
    pub(crate) fn mount(&self) -> usize {
        // SAFETY: the vnode is referenced. An unmount may change the pointer meanwhile, but it is
        // not dereferenced.
        unsafe { (&raw const (*self.vp).v_mount).read_volatile() }.addr()
    }

    /// Returns the credential, with one more reference.
    pub(crate) fn hold_cred(&self) -> Cred {
        // SAFETY: self holds a reference.
        Cred(unsafe { sys::crhold(self.cred) })
    }
}

/// A vn_start_write(9) reference, and the vnode if it is already locked. The thread that took them
/// drops the value.
pub(crate) struct WriteLeave {
    mp: *mut sys::mount,
    /// The locked vnode, or null if each write locks it.
    locked: *mut sys::vnode,
}

impl Drop for WriteLeave {
    fn drop(&mut self) {
        // SAFETY: mp is from vn_start_write(9), called by this thread, which has also locked the
        // vnode if `locked` is set.
        unsafe {
            if !self.locked.is_null() {
                vn_unlock(self.locked);
            }
            sys::vn_finished_write(self.mp);
        }
    }
}

impl Storage<MaySleep> for TraceVnode {
    type Target = Target;
    type Leave = WriteLeave;

    fn target(&self) -> Target {
        Target { vp: self.vp.addr(), cred: self.hold_cred(), limit: self.limit }
    }

    fn user(&self) -> User {
        // SAFETY: the credential is referenced, and constant while it is. It keeps its prison.
        unsafe { User { uid: (*self.cred).cr_ruid, jail: (*(*self.cred).cr_prison).pr_id } }
    }

    /// Takes a reference. Waits regardless of signals.
    fn start_write(&self, _: MaySleep) -> WriteLeave {
        let mut mp = core::ptr::null_mut();
        // SAFETY: the caller may sleep. The vnode is referenced. Without V_PCATCH,
        // vn_start_write(9) succeeds.
        unsafe { sys::vn_start_write(self.vp, &raw mut mp, sys::V_WAIT.cast_signed()) };
        WriteLeave { mp, locked: core::ptr::null_mut() }
    }

    /// Takes a reference and locks the vnode, or returns `None`. Another process may hold the vnode
    /// lock for long, during one huge write(2).
    fn try_start_write(&self, _: MaySleep) -> Option<WriteLeave> {
        let mut mp = core::ptr::null_mut();
        // SAFETY: the caller may sleep. The vnode is referenced.
        let error = unsafe { sys::vn_start_write(self.vp, &raw mut mp, sys::V_NOWAIT.cast_signed()) };
        // Without a reference there is nothing to release.
        let mut leave = (error == 0).then(|| WriteLeave { mp, locked: core::ptr::null_mut() })?;
        // SAFETY: the caller may sleep. The vnode is referenced, and not locked by this thread:
        // nobody writes a trace file while it holds the vnode lock.
        leave.locked = unsafe { vn_try_lock(self.vp) }.then_some(self.vp)?;
        Some(leave)
    }

    fn append(&self, leave: &WriteLeave, bytes: &[u8]) -> Result<(), Errno> {
        if leave.locked == self.vp {
            return self.append_locked(bytes);
        }
        // SAFETY: a thread with a vn_start_write(9) reference may sleep. The vnode is referenced,
        // and this thread has not locked it.
        unsafe { vn_lock(self.vp) };
        let result = self.append_locked(bytes);
        // SAFETY: the lock was taken above.
        unsafe { vn_unlock(self.vp) };
        result
    }
}

impl TraceVnode {
    /// Appends all of `bytes`, or leaves the file as it was. The vnode must be locked.
    fn append_locked(&self, bytes: &[u8]) -> Result<(), Errno> {
        // SAFETY: the vnode is referenced and locked.
        let is_remote = unsafe { sys::ktrace_rs_vn_is_remote(self.vp) };
        let again = self.interrupted_at()?;
        let before = match (again, self.limit) {
            (Some(offset), _) => Some(offset),
            (None, UNLIMITED) if !is_remote && bytes.len() <= WRITTEN_AT_ONCE => None,
            (None, UNLIMITED) => match self.size() {
                Err(errno) if errno.is_interrupted() => return Err(errno),
                // If the size is unknown, the write reports the error.
                size => size.ok(),
            },
            (None, _) => Some(self.size()?),
        };
        // A file system may write the part that fits below the limit, and not report that the rest
        // is missing. So check first.
        let past_limit =
            |size: i64| size.checked_add_unsigned(bytes.len() as u64).is_none_or(|end| end > self.limit);
        if self.limit != UNLIMITED && before.is_some_and(past_limit) {
            return Err(EFBIG);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = bytes.len().saturating_sub(rest.len());
            let offset = again.map(|offset| offset.saturating_add(length(written)));
            let (moved, result) = self.write(rest, offset, is_remote);
            if moved == 0 || result.is_err() {
                let errno = result.err().unwrap_or(EIO);
                if let Some(offset) = before
                    && is_remote
                    && errno.is_interrupted()
                {
                    self.interrupted.note(offset, bytes.len());
                    return Err(errno);
                }
                self.interrupted.forget();
                // Some file systems write a part although IO_UNIT requires all or nothing. Cut that
                // part off. NFS may have written more than it reports.
                let moved = if is_remote { rest.len() } else { moved };
                self.take_back(written, before.map(|size| (size, moved)));
                return Err(errno);
            }
            rest = rest.get(moved..).unwrap_or_default();
        }
        if again.is_some() {
            self.interrupted.forget();
        }
        Ok(())
    }

    /// Returns the offset at which an interrupted write must be repeated, if there is one. There is
    /// none if others have written to the file behind it, or have truncated the file. The vnode must
    /// be locked.
    fn interrupted_at(&self) -> Result<Option<i64>, Errno> {
        let offset = self.interrupted.offset.load(Ordering::Relaxed);
        if offset < 0 {
            return Ok(None);
        }
        let grown = self.size()?.saturating_sub(offset);
        if !(0..=self.interrupted.len.load(Ordering::Relaxed)).contains(&grown) {
            self.interrupted.forget();
            return Ok(None);
        }
        Ok(Some(offset))
    }

    /// Appends as much of `bytes` as the file system accepts, or writes it at an offset, and returns
    /// the length that it reports. After an error, the file may contain less than that.
    fn write(&self, bytes: &[u8], offset: Option<i64>, is_remote: bool) -> (usize, Result<(), Errno>) {
        let Ok(len) = c_int::try_from(bytes.len()) else { return (0, Err(EFBIG)) };
        let td = CurrentThread::get().as_ptr();
        // With IO_UNIT, NFS would truncate the file after an interrupted write, perhaps later.
        let unit = if is_remote { 0 } else { sys::IO_UNIT };
        let place = if offset.is_some() { sys::IO_SYNC } else { sys::IO_APPEND };
        let mut resid = 0;
        // SAFETY: td is the current thread. TDP_INKTRACE makes the file system check td_ktr_io_lim.
        // The bytes are only read. Vnode and credential are referenced, and the vnode is locked.
        let error = unsafe {
            (*td).td_ktr_io_lim = self.limit;
            sys::vn_rdwr(
                sys::UIO_WRITE,
                self.vp,
                bytes.as_ptr().cast_mut().cast(),
                len,
                offset.unwrap_or(0),
                sys::UIO_SYSSPACE,
                (unit | place | sys::IO_NODELOCKED).cast_signed(),
                self.cred,
                core::ptr::null_mut(),
                &raw mut resid,
                td,
            )
        };
        (bytes.len().saturating_sub(usize::try_from(resid).unwrap_or(0)), check(error))
    }

    /// Cuts off the bytes that a failed append has put into the file, if that is possible. The vnode
    /// must be locked.
    ///
    /// These are `written` bytes, and those of the last write, which failed. `failed` is the size
    /// before the append, if that is known, and the length that the last write reported. The cut is
    /// no longer than the reported lengths, and no longer than the file has grown, because another
    /// machine may have written to it. If the size before is unknown, only `written` bytes are cut
    /// off.
    fn take_back(&self, written: usize, failed: Option<(i64, usize)>) {
        let moved = failed.map_or(0, |(_, moved)| moved);
        let most = length(written.saturating_add(moved));
        if most == 0 {
            return;
        }
        let Ok(now) = self.size() else { return };
        let grown = failed.map_or(most, |(before, _)| now.saturating_sub(before).max(0));
        let cut = grown.min(most);
        if cut != 0 {
            // SAFETY: vnode and credential are referenced, and the vnode is locked.
            unsafe { sys::vn_truncate_locked(self.vp, now.saturating_sub(cut), false, self.cred) };
        }
    }

    /// Returns the size of the file in bytes. The vnode must be locked.
    fn size(&self) -> Result<i64, Errno> {
        let mut size = 0;
        // SAFETY: vnode and credential are referenced, and the vnode is locked.
        check(unsafe { sys::vn_getsize_locked(self.vp, &raw mut size, self.cred) })?;
        Ok(size)
    }
}

/// Locks a vnode exclusively, even if it is dead, as vn_lock(9) does in a module.
///
/// # Safety
///
/// The vnode is referenced, and not locked by the current thread, which may sleep.
unsafe fn vn_lock(vp: *mut sys::vnode) {
    let flags = (sys::LK_EXCLUSIVE | sys::LK_RETRY).cast_signed();
    // SAFETY: the caller guarantees the above. With LK_RETRY, _vn_lock() succeeds.
    unsafe { sys::_vn_lock(vp, flags, FILE.as_ptr(), line!().cast_signed()) };
}

/// Locks a vnode as [`vn_lock`] does, but returns false if another thread holds the lock.
///
/// # Safety
///
/// As for [`vn_lock`].
unsafe fn vn_try_lock(vp: *mut sys::vnode) -> bool {
    let flags = (sys::LK_EXCLUSIVE | sys::LK_NOWAIT).cast_signed();
    // SAFETY: the caller guarantees the conditions of vn_lock().
    match unsafe { sys::_vn_lock(vp, flags, FILE.as_ptr(), line!().cast_signed()) } {
        0 => true,
        ENOENT => {
            // The vnode is dead: nobody holds its lock for long.
            // SAFETY: as above. The failed attempt has locked nothing.
            unsafe { vn_lock(vp) };
            true
        }
        _ => false,
    }
}

/// Unlocks a vnode. VOP_UNLOCK(9) is in a header that only a kernel build generates. So this takes
/// one more reference, which vput(9) drops together with the lock.
///
/// # Safety
///
/// The vnode is referenced, and locked by the current thread.
unsafe fn vn_unlock(vp: *mut sys::vnode) {
    // SAFETY: the caller guarantees that the vnode is referenced, and locked by the current thread.
    unsafe {
        sys::vrefact(vp);
        sys::vput(vp);
    }
}

/// Returns a number of bytes as a length in a file.
fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn check(error: c_int) -> Result<(), Errno> {
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

impl Drop for TraceVnode {
    /// Closes the file. A kernel process leaves that to [`close_left`], because a close may hang.
    fn drop(&mut self) {
        let opened = Opened { vp: self.vp, cred: self.cred };
        if !CurrentThread::get().proc().is_kernel() {
            // SAFETY: open() took these references, and nobody else has them any more. Dropping may
            // sleep.
            return unsafe { opened.close() };
        }
        let left = Box::into_raw(Box::new(LeftOpen { opened, next: core::ptr::null_mut() }));
        let mut next = LEFT_OPEN.load(Ordering::Relaxed);
        loop {
            // SAFETY: no other thread has the element before it is in the list.
            unsafe { (*left).next = next };
            match LEFT_OPEN.compare_exchange_weak(next, left, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }
}

/// The references of an open file, to be closed.
struct Opened {
    vp: *mut sys::vnode,
    cred: *mut sys::ucred,
}

impl Opened {
    /// Closes the file.
    ///
    /// # Safety
    ///
    /// The references are those of [`TraceVnode::open`], and nobody uses them any more. The current
    /// thread may sleep.
    unsafe fn close(self) {
        let inside = InKtrace::enter();
        // SAFETY: the caller guarantees that the references may be dropped, and may sleep. td is
        // the current thread.
        unsafe {
            let td = CurrentThread::get().as_ptr();
            sys::vn_close(self.vp, OPEN_FLAGS.cast_signed(), self.cred, td);
            sys::crfree(self.cred);
        }
        drop(inside);
    }
}

/// An element of the list of files that kernel processes have left to be closed.
struct LeftOpen {
    opened: Opened,
    next: *mut LeftOpen,
}

/// The newest element of the list, or null if the list is empty.
static LEFT_OPEN: AtomicPtr<LeftOpen> = AtomicPtr::new(core::ptr::null_mut());

/// Returns whether kernel processes have left files to be closed.
pub(crate) fn is_left_open() -> bool {
    !LEFT_OPEN.load(Ordering::Acquire).is_null()
}

/// Closes the files that kernel processes have left. May sleep, and may hang.
pub(crate) fn close_left(_: MaySleep) {
    let mut left = LEFT_OPEN.swap(core::ptr::null_mut(), Ordering::Acquire);
    while !left.is_null() {
        // SAFETY: the whole list was taken over. Its elements are from Box::into_raw() in drop().
        let LeftOpen { opened, next } = *unsafe { Box::from_raw(left) };
        // SAFETY: drop() has left the references of open(), and the caller may sleep.
        unsafe { opened.close() };
        left = next;
    }
}

/// The target of a trace file: the file, the credential that writes it, and its size limit.
#[derive(PartialEq)]
pub(crate) struct Target {
    vp: usize,
    cred: Cred,
    limit: i64,
}

/// A reference to a credential.
pub(crate) struct Cred(*mut sys::ucred);

// SAFETY: threads may share credentials, which are constant once they are shared.
unsafe impl Send for Cred {}

impl PartialEq for Cred {
    /// Returns whether both have the same rights to write a file, as two logins of a user have.
    fn eq(&self, other: &Cred) -> bool {
        let rights = |cred: &Cred| {
            // SAFETY: the credential is referenced, and constant while it is.
            let (cred, cr_gid) = unsafe { (&*cred.0, sys::ktrace_rs_cr_gid(cred.0)) };
            let sys::ucred { cr_uid, cr_ruid, cr_rgid, cr_prison, cr_label, .. } = *cred;
            (cr_uid, cr_ruid, cr_gid, cr_rgid, cr_prison, cr_label)
        };
        self.0 == other.0 || rights(self) == rights(other) && self.groups() == other.groups()
    }
}

impl Cred {
    /// Returns the groups.
    fn groups(&self) -> &[sys::gid_t] {
        // SAFETY: the credential is referenced, and constant while it is. cr_groups points to
        // cr_ngroups numbers.
        unsafe {
            let cred = &*self.0;
            match usize::try_from(cred.cr_ngroups) {
                Ok(len) if len != 0 => core::slice::from_raw_parts(cred.cr_groups, len),
                _ => &[],
            }
        }
    }

    /// Returns whether the credential has the privilege (priv(9)).
    pub(crate) fn has_privilege(&self, privilege: u32) -> bool {
        // SAFETY: the credential is referenced.
        unsafe { sys::priv_check_cred(self.0, privilege.cast_signed()) == 0 }
    }
}

impl Drop for Cred {
    fn drop(&mut self) {
        // SAFETY: self owns the reference.
        unsafe { sys::crfree(self.0) };
    }
}
