//! Vnodes that trace records are appended to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering};

use kernel_sys as sys;
use ktrace_engine::{Errno, Storage};

use super::context::{InKtrace, MaySleep};
use super::lock::FILE;
use super::proc::CurrentThread;

const OPEN_FLAGS: u32 = sys::FREAD | sys::FWRITE;

/// Most bytes that all file systems write at once: of more, one that sends them somewhere in several parts
/// (NFS, FUSE) may say that it has failed and keep the first parts.
const WRITTEN_AT_ONCE: usize = 512;

/// `RLIM_INFINITY`.
const UNLIMITED: i64 = i64::MAX;

const ENOENT: c_int = sys::ENOENT.cast_signed();
const EFBIG: Errno = Errno(sys::EFBIG.cast_signed());
const EIO: Errno = Errno(sys::EIO.cast_signed());

/// Files that were opened so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// A regular file that was opened for tracing, with the credential that writes it, and the
/// limit and the name that it had then.
///
/// Closed on drop, which may sleep.
pub(crate) struct TraceVnode {
    vp: *mut sys::vnode,
    cred: *mut sys::ucred,
    limit: i64,
    name: Arc<[u8]>,
    number: u64,
    /// Size that the file is to be cut to before the next write, and most bytes that this may be: a signal has interrupted
    /// a write, and then the cut. Guarded by the vnode's lock. A size of -1 is none.
    torn: (AtomicI64, AtomicI64),
}

// SAFETY: vnodes and credentials are made to be shared by threads.
unsafe impl Send for TraceVnode {}
// SAFETY: as above.
unsafe impl Sync for TraceVnode {}

impl TraceVnode {
    /// Opens a file of user space for tracing by `td`, with its
    /// credential and its `RLIMIT_FSIZE`. May sleep.
    ///
    /// `EACCES` for what is not a regular file, otherwise what vn_open(9) says; a symbolic
    /// link is not followed.
    pub(crate) fn open(
        may_sleep: MaySleep,
        td: CurrentThread,
        user_path: *const c_char,
    ) -> Result<Self, Errno> {
        let mut vp = core::ptr::null_mut();
        let flags = (OPEN_FLAGS | sys::O_NOFOLLOW).cast_signed();
        // SAFETY: the caller may sleep; the path is an address of user space, which namei(9)
        // checks.
        let error = unsafe { sys::ktrace_rs_vn_open(user_path, flags, &raw mut vp) };
        if error != 0 {
            return Err(Errno(error));
        }
        // SAFETY: vn_open(9) returned the vnode locked and referenced; td is the current
        // thread, whose credential and limits stay.
        let mut file = unsafe {
            vn_unlock(vp);
            TraceVnode {
                vp,
                cred: sys::crhold((*td.as_ptr()).td_ucred),
                limit: sys::lim_cur(td.as_ptr(), sys::RLIMIT_FSIZE.cast_signed()),
                name: Arc::default(),
                number: OPENED.fetch_add(1, Ordering::Relaxed),
                torn: (AtomicI64::new(-1), AtomicI64::new(0)),
            }
        };
        // SAFETY: the vnode is referenced.
        if unsafe { !sys::ktrace_rs_vn_is_regular(vp) } {
            return Err(Errno(sys::EACCES.cast_signed()));
        }
        file.name = file.find_name(may_sleep).unwrap_or_default();
        Ok(file)
    }

    /// Whether both are the same file.
    pub(crate) fn same_file(&self, other: &TraceVnode) -> bool {
        self.vp == other.vp
    }

    /// Whether both write the same file with the same credential up to the same limit.
    pub(crate) fn same_target(&self, other: &TraceVnode) -> bool {
        self.same_file(other) && self.cred == other.cred && self.limit == other.limit
    }

    /// The vnode, with one more reference if `reference`.
    pub(crate) fn vnode(&self, reference: bool) -> *mut sys::vnode {
        if reference {
            // SAFETY: the vnode is referenced already, as vrefact() asks for.
            unsafe { sys::vrefact(self.vp) };
        }
        self.vp
    }

    /// Returns the name that the file had when it was opened, from the root of the process that opened
    /// it; empty where it had none. Does not wait for the vnode.
    pub(crate) fn name(&self) -> &Arc<[u8]> {
        &self.name
    }

    /// Returns the file's place in the order in which files were opened.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether the current thread may see the user who opened the file (`cr_cansee`).
    pub(crate) fn can_be_seen(&self, td: CurrentThread) -> bool {
        // SAFETY: self holds a reference to the one credential, and the current thread to the other.
        unsafe { sys::cr_cansee((*td.as_ptr()).td_ucred, self.cred) == 0 }
    }

    /// Finds a name of the file, from the root of the current process; `None` where it has none. Waits
    /// for the vnode where the name cache has forgotten it.
    fn find_name(&self, _: MaySleep) -> Option<Arc<[u8]>> {
        let (mut name, mut buffer) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: the caller may sleep; the vnode is referenced, and not locked by this thread; the name is
        // a string in the buffer, which is ours to free.
        unsafe {
            if sys::vn_fullpath(self.vp, &raw mut name, &raw mut buffer) != 0 {
                return None;
            }
            let path = Arc::from(CStr::from_ptr(name).to_bytes());
            sys::free(buffer.cast(), (&raw mut sys::M_TEMP).cast());
            Some(path)
        }
    }

    /// Returns a number of the file system, or zero if it is gone.
    pub(crate) fn mount(&self) -> usize {
        // SAFETY: the vnode is referenced. An unmount may change the pointer meanwhile; it is not followed.
        unsafe { (&raw const (*self.vp).v_mount).read_volatile() }.addr()
    }

    /// The credential, with one more reference.
    pub(crate) fn hold_cred(&self) -> Cred {
        // SAFETY: self holds a reference.
        Cred(unsafe { sys::crhold(self.cred) })
    }
}

/// What vn_start_write(9) returned, and the vnode if that is locked already. The current thread drops it.
pub(crate) struct WriteLeave {
    mp: *mut sys::mount,
    /// Null if the vnode is to be locked for each write.
    locked: *mut sys::vnode,
}

impl Drop for WriteLeave {
    fn drop(&mut self) {
        // SAFETY: from vn_start_write(9), by this thread, which has locked the vnode if there is one.
        unsafe {
            if !self.locked.is_null() {
                vn_unlock(self.locked);
            }
            sys::vn_finished_write(self.mp);
        }
    }
}

impl Storage<MaySleep> for TraceVnode {
    type Leave = WriteLeave;

    /// Waits, signal or not.
    fn start_write(&self, _: MaySleep) -> WriteLeave {
        let mut mp = core::ptr::null_mut();
        // SAFETY: the caller may sleep; the vnode is referenced. Without V_PCATCH this succeeds.
        unsafe { sys::vn_start_write(self.vp, &raw mut mp, sys::V_WAIT.cast_signed()) };
        WriteLeave { mp, locked: core::ptr::null_mut() }
    }

    /// Also locks the vnode, or returns nothing: another process may have it locked for long, with one huge write(2).
    fn try_start_write(&self, _: MaySleep) -> Option<WriteLeave> {
        let mut mp = core::ptr::null_mut();
        // SAFETY: as above.
        let error = unsafe { sys::vn_start_write(self.vp, &raw mut mp, sys::V_NOWAIT.cast_signed()) };
        // Without leave there is nothing to give back.
        let mut leave = (error == 0).then(|| WriteLeave { mp, locked: core::ptr::null_mut() })?;
        // SAFETY: the caller may sleep; the vnode is referenced, and not locked: nobody writes a file under its lock.
        leave.locked = unsafe { vn_try_lock(self.vp) }.then_some(self.vp)?;
        Some(leave)
    }

    fn append(&self, leave: &WriteLeave, bytes: &[u8]) -> Result<(), Errno> {
        if leave.locked == self.vp {
            return self.append_locked(bytes);
        }
        // SAFETY: whoever has leave may sleep; the vnode is referenced.
        unsafe { vn_lock(self.vp) };
        let result = self.append_locked(bytes);
        // SAFETY: taken above.
        unsafe { vn_unlock(self.vp) };
        result
    }
}

impl TraceVnode {
    /// Appends all of `bytes`, or leaves the file as it was. The vnode is locked.
    fn append_locked(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.mend()?;
        // A file system may write what fits below the limit, and not say that the rest is
        // missing: look first.
        let past_limit =
            |size: i64| size.checked_add_unsigned(bytes.len() as u64).is_none_or(|end| end > self.limit);
        let before = match self.limit {
            UNLIMITED if bytes.len() <= WRITTEN_AT_ONCE => None,
            // The write says what is wrong.
            UNLIMITED => self.size().ok(),
            _ => Some(self.size()?),
        };
        if self.limit != UNLIMITED && before.is_some_and(past_limit) {
            return Err(EFBIG);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (moved, result) = self.write(rest);
            if moved == 0 || result.is_err() {
                // Some file systems write a part although IO_UNIT asks for all or nothing:
                // take that back. Where that fails, too, the first reason is the one to tell.
                let written = bytes.len().saturating_sub(rest.len());
                let back = self.take_back(written, before.map(|size| (size, moved)));
                if let (Err(errno), Some(before)) = (back, before)
                    && errno.is_interrupted()
                {
                    let most = i64::try_from(written.saturating_add(moved)).unwrap_or(i64::MAX);
                    self.torn.1.store(most, Ordering::Relaxed);
                    self.torn.0.store(before, Ordering::Relaxed);
                }
                return Err(result.err().unwrap_or(EIO));
            }
            rest = rest.get(moved..).unwrap_or_default();
        }
        Ok(())
    }

    /// Appends as much of `bytes` as the file system takes, and returns how much it says that was. If that
    /// fails it may be more than is in the file.
    fn write(&self, bytes: &[u8]) -> (usize, Result<(), Errno>) {
        let Ok(len) = c_int::try_from(bytes.len()) else { return (0, Err(EFBIG)) };
        let td = CurrentThread::get().as_ptr();
        let mut resid = 0;
        // SAFETY: td is the current thread, and TDP_INKTRACE has the file system look at
        // td_ktr_io_lim; the bytes are only read; vnode and credential are referenced, and the
        // vnode is locked.
        let error = unsafe {
            (*td).td_ktr_io_lim = self.limit;
            sys::vn_rdwr(
                sys::UIO_WRITE,
                self.vp,
                bytes.as_ptr().cast_mut().cast(),
                len,
                0,
                sys::UIO_SYSSPACE,
                (sys::IO_UNIT | sys::IO_APPEND | sys::IO_NODELOCKED).cast_signed(),
                self.cred,
                core::ptr::null_mut(),
                &raw mut resid,
                td,
            )
        };
        (bytes.len().saturating_sub(usize::try_from(resid).unwrap_or(0)), check(error))
    }

    /// Cuts off the file what this append has put there: `written` bytes, and of what failed then, if the size
    /// before is known, no more than was moved, and no more than there is. (Others may have written to it on
    /// another machine.) The vnode is locked.
    fn take_back(&self, written: usize, failed: Option<(i64, usize)>) -> Result<(), Errno> {
        let moved = failed.map_or(0, |(_, moved)| moved);
        let most = i64::try_from(written.saturating_add(moved)).unwrap_or(i64::MAX);
        if most == 0 {
            return Ok(());
        }
        let now = self.size()?;
        let grown = failed.map_or(most, |(before, _)| now.saturating_sub(before).max(0));
        match grown.min(most) {
            0 => Ok(()),
            cut => {
                // SAFETY: vnode and credential are referenced, and the vnode is locked.
                check(unsafe { sys::vn_truncate_locked(self.vp, now.saturating_sub(cut), false, self.cred) })
            }
        }
    }

    /// Cuts off what an interrupted write has left, unless others have written behind it. The vnode is locked.
    fn mend(&self) -> Result<(), Errno> {
        let before = self.torn.0.load(Ordering::Relaxed);
        if before < 0 {
            return Ok(());
        }
        let grown = self.size()?.saturating_sub(before);
        if grown > 0 && grown <= self.torn.1.load(Ordering::Relaxed) {
            // SAFETY: vnode and credential are referenced, and the vnode is locked.
            check(unsafe { sys::vn_truncate_locked(self.vp, before, false, self.cred) })?;
        }
        self.torn.0.store(-1, Ordering::Relaxed);
        Ok(())
    }

    /// Size of the file in bytes. The vnode is locked.
    fn size(&self) -> Result<i64, Errno> {
        let mut size = 0;
        // SAFETY: vnode and credential are referenced, and the vnode is locked.
        check(unsafe { sys::vn_getsize_locked(self.vp, &raw mut size, self.cred) })?;
        Ok(size)
    }
}

/// What vn_lock(9) is in a module: exclusively, and also if the vnode is dead.
///
/// # Safety
///
/// The vnode is referenced, and not locked by the current thread, which may sleep.
unsafe fn vn_lock(vp: *mut sys::vnode) {
    let flags = (sys::LK_EXCLUSIVE | sys::LK_RETRY).cast_signed();
    // SAFETY: the caller's. With LK_RETRY this succeeds.
    unsafe { sys::_vn_lock(vp, flags, FILE.as_ptr(), line!().cast_signed()) };
}

/// As [`vn_lock`], but returns false if another thread has the vnode locked.
///
/// # Safety
///
/// As for [`vn_lock`].
unsafe fn vn_try_lock(vp: *mut sys::vnode) -> bool {
    let flags = (sys::LK_EXCLUSIVE | sys::LK_NOWAIT).cast_signed();
    // SAFETY: the caller's.
    match unsafe { sys::_vn_lock(vp, flags, FILE.as_ptr(), line!().cast_signed()) } {
        0 => true,
        ENOENT => {
            // It is dead: nobody has it for long.
            // SAFETY: the caller's.
            unsafe { vn_lock(vp) };
            true
        }
        _ => false,
    }
}

/// Unlocks a vnode. VOP_UNLOCK(9) comes from a header that only a kernel build generates: takes one more
/// reference, and drops it together with the lock.
///
/// # Safety
///
/// The vnode is referenced, and locked by the current thread.
unsafe fn vn_unlock(vp: *mut sys::vnode) {
    // SAFETY: the caller's.
    unsafe {
        sys::vrefact(vp);
        sys::vput(vp);
    }
}

fn check(error: c_int) -> Result<(), Errno> {
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

impl Drop for TraceVnode {
    /// Closes the file; a kernel process leaves that to [`close_left`], as it may hang.
    fn drop(&mut self) {
        let opened = Opened { vp: self.vp, cred: self.cred };
        if !CurrentThread::get().proc().is_kernel() {
            // SAFETY: open() took these references, and nobody else has them any more.
            return unsafe { opened.close() };
        }
        let left = Box::into_raw(Box::new(LeftOpen { opened, next: core::ptr::null_mut() }));
        let mut next = LEFT_OPEN.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else has it before it is in the list.
            unsafe { (*left).next = next };
            match LEFT_OPEN.compare_exchange_weak(next, left, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }
}

/// What is to be closed.
struct Opened {
    vp: *mut sys::vnode,
    cred: *mut sys::ucred,
}

impl Opened {
    /// Closes the file.
    ///
    /// # Safety
    ///
    /// The references are those of [`TraceVnode::open`], and nobody uses them any more; the current thread may sleep.
    unsafe fn close(self) {
        let inside = InKtrace::enter();
        // SAFETY: the caller's.
        unsafe {
            let td = CurrentThread::get().as_ptr();
            sys::vn_close(self.vp, OPEN_FLAGS.cast_signed(), self.cred, td);
            sys::crfree(self.cred);
        }
        drop(inside);
    }
}

/// A file that a kernel process has left to be closed.
struct LeftOpen {
    opened: Opened,
    next: *mut LeftOpen,
}

/// The last of these; null if there is none.
static LEFT_OPEN: AtomicPtr<LeftOpen> = AtomicPtr::new(core::ptr::null_mut());

/// Whether there are files that kernel processes have left to be closed.
pub(crate) fn is_left_open() -> bool {
    !LEFT_OPEN.load(Ordering::Acquire).is_null()
}

/// Closes the files that kernel processes have left. May sleep, and hang.
pub(crate) fn close_left(_: MaySleep) {
    let mut left = LEFT_OPEN.swap(core::ptr::null_mut(), Ordering::Acquire);
    while !left.is_null() {
        // SAFETY: the list was taken over as a whole; drop() made its parts of boxes.
        let LeftOpen { opened, next } = *unsafe { Box::from_raw(left) };
        // SAFETY: drop() has left its references, and the caller may sleep.
        unsafe { opened.close() };
        left = next;
    }
}

/// A reference to a credential.
pub(crate) struct Cred(*mut sys::ucred);

impl Cred {
    /// Whether it has the privilege (priv(9)).
    pub(crate) fn has_privilege(&self, privilege: u32) -> bool {
        // SAFETY: the credential is referenced.
        unsafe { sys::priv_check_cred(self.0, privilege.cast_signed()) == 0 }
    }
}

impl Drop for Cred {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { sys::crfree(self.0) };
    }
}
