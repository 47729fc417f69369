//! Vnodes over files of the host, on disks that can be slow, full, failing, dead, or suspended.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, violation};
use crate::lock::{self, sx_init_flags};
use crate::sched::{Sleep, point, wake};
use crate::witness::{self, Kind};
use crate::{cred, flaw, heap, user};

const EINTR: c_int = sys::EINTR.cast_signed();
const EBUSY: c_int = sys::EBUSY.cast_signed();
const EBADF: c_int = sys::EBADF.cast_signed();
const EFBIG: c_int = sys::EFBIG.cast_signed();
const EIO: c_int = sys::EIO.cast_signed();
const EACCES: c_int = sys::EACCES.cast_signed();
const ENOENT: c_int = sys::ENOENT.cast_signed();
const ENOSPC: c_int = sys::ENOSPC.cast_signed();
const EISDIR: c_int = sys::EISDIR.cast_signed();
const EMLINK: c_int = sys::EMLINK.cast_signed();
const EWOULDBLOCK: c_int = sys::EWOULDBLOCK.cast_signed();

/// The number of bytes that a failing or interrupted write still writes.
const PART: usize = 512;

/// The mount of a disk.
struct Mount(UnsafeCell<sys::mount>);

// SAFETY: the flags change only before other threads read them.
unsafe impl Sync for Mount {}

impl Mount {
    fn local() -> Self {
        // SAFETY: all zero is a struct mount without anything in it.
        let mut mount: sys::mount = unsafe { std::mem::zeroed() };
        mount.mnt_flag = u64::from(sys::MNT_LOCAL);
        Mount(UnsafeCell::new(mount))
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mount")
    }
}

/// A disk and its file system, with their faults.
#[derive(Debug)]
pub struct Disk {
    /// The write rate in bytes per second. Zero is as fast as the host.
    pub rate: AtomicU64,
    /// The free space in bytes.
    pub room: AtomicI64,
    /// Whether a write that does not fit is written partly. Otherwise it fails with ENOSPC.
    pub partial: AtomicBool,
    /// The percentage of writes that fail.
    pub failing: AtomicU64,
    /// Whether writes hang.
    pub hangs: AtomicBool,
    /// The file system, of which only the flags are read.
    mount: Mount,
    /// Whether pending signals interrupt writes, as NFS with `intr` does.
    interruptible: AtomicBool,
    /// The number of interrupted operations.
    pub interrupted: AtomicU64,
    /// Whether all vnodes are dead, because the file system was unmounted.
    dead: AtomicBool,
    /// Whether opening a file waits.
    pub held: AtomicBool,
    suspended: AtomicBool,
    writers: AtomicI64,
    /// The number of writes so far.
    pub writes: AtomicU64,
    /// The number of bytes written so far.
    pub bytes: AtomicU64,
}

impl Disk {
    /// Creates a disk without faults.
    pub fn new() -> &'static Disk {
        Box::leak(Box::new(Disk {
            rate: AtomicU64::new(0),
            room: AtomicI64::new(i64::MAX),
            partial: AtomicBool::new(false),
            failing: AtomicU64::new(0),
            hangs: AtomicBool::new(false),
            mount: Mount::local(),
            interruptible: AtomicBool::new(false),
            interrupted: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            held: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            writers: AtomicI64::new(0),
            writes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }))
    }

    /// Has signals interrupt writes, as on NFS with `intr`. No thread may use the disk yet.
    pub fn set_interruptible(&self) {
        self.interruptible.store(true, Ordering::Relaxed);
        // SAFETY: no other thread reads the flags yet.
        unsafe { (*self.mount.0.get()).mnt_flag &= !u64::from(sys::MNT_LOCAL) };
    }

    /// Unmounts the file system by force. All of its vnodes are dead from now on.
    pub fn unmount(&self) {
        self.dead.store(true, Ordering::Relaxed);
        for vnode in VNODES.lock().iter().map(|address| *address as *mut Vnode) {
            // SAFETY: vnodes are leaked. The module reads the pointer at any time, as in the kernel.
            unsafe {
                if std::ptr::eq((*vnode).disk, self) {
                    (&raw mut (*vnode).v.v_mount).write_volatile(std::ptr::null_mut());
                }
            }
        }
    }

    /// Returns whether a signal interrupts the current thread's operation on the disk. Counts the
    /// interruption.
    fn is_interrupted(&self) -> bool {
        let is_it = self.interruptible.load(Ordering::Relaxed) && current().proc().has_signal();
        self.interrupted.fetch_add(u64::from(is_it), Ordering::Relaxed);
        is_it
    }

    fn channel(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Suspends the file system: no thread writes until it is resumed. Waits for current writers.
    pub fn suspend(&self) {
        self.suspended.store(true, Ordering::SeqCst);
        while self.writers.load(Ordering::SeqCst) != 0 {
            let sleep = Sleep::prepare();
            if self.writers.load(Ordering::SeqCst) != 0 {
                sleep.on(self.channel() + 1, c"suspwt".as_ptr(), sys::TDI_SLEEPING, Some(1_000_000));
            }
        }
    }

    /// Resumes the file system.
    pub fn resume(&self) {
        self.suspended.store(false, Ordering::SeqCst);
        wake(self.channel());
    }
}

/// A vnode over a file of the host.
#[repr(C)]
pub struct Vnode {
    /// The `struct vnode`. First, so that both have the same address.
    v: sys::vnode,
    disk: &'static Disk,
    lock: sys::sx,
    file: File,
    size: AtomicI64,
    uses: AtomicI64,
    writers: AtomicI64,
    /// Interrupted writes that the server has not carried out yet, and where.
    late: HostLock<Vec<(i64, Vec<u8>)>>,
    owner: u32,
    path: PathBuf,
    host_path: PathBuf,
    removed: AtomicBool,
}

// SAFETY: the structure that the module sees is shared as in a kernel; the rest is atomic, or under
// the lock.
unsafe impl Sync for Vnode {}
// SAFETY: as for Sync.
unsafe impl Send for Vnode {}

/// The vnodes of existing files, by name.
static NAMES: HostLock<BTreeMap<PathBuf, usize>> = HostLock::new(BTreeMap::new());
/// All vnodes, including those of removed files.
static VNODES: HostLock<Vec<usize>> = HostLock::new(Vec::new());

impl Vnode {
    /// Creates a file of a user's. `kind` is one of `VREG`, `VDIR`, `VLNK`.
    pub fn create(
        directory: &Path,
        path: &str,
        disk: &'static Disk,
        owner: u32,
        kind: sys::enum_vtype_uint8,
    ) -> &'static Vnode {
        let number = VNODES.lock().len();
        let host_path = directory.join(format!("vnode{number}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&host_path)
            .unwrap_or_else(|error| violation!(Call, "{}: {error}", host_path.display()));
        // SAFETY: an all-zero struct vnode and struct sx are valid and unused.
        let (v, lock) = unsafe { (std::mem::zeroed::<sys::vnode>(), std::mem::zeroed()) };
        let vnode = Box::leak(Box::new(Vnode {
            v,
            disk,
            lock,
            file,
            size: AtomicI64::new(0),
            uses: AtomicI64::new(0),
            writers: AtomicI64::new(0),
            late: HostLock::new(Vec::new()),
            owner,
            path: PathBuf::from(path),
            host_path,
            removed: AtomicBool::new(false),
        }));
        vnode.v.v_type = kind;
        vnode.v.v_mount = disk.mount.0.get();
        // SAFETY: the vnode is leaked, so that the lock never moves.
        unsafe { sx_init_flags(&raw mut vnode.lock, c"vnode".as_ptr(), 0) };
        let address = std::ptr::from_ref(vnode) as usize;
        NAMES.lock().insert(PathBuf::from(path), address);
        VNODES.lock().push(address);
        vnode
    }

    /// Removes the file's name.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        NAMES.lock().remove(&self.path);
    }

    /// Truncates the file to length zero, as open(2) with O_TRUNC does. May sleep.
    pub fn truncate(&self) {
        self.locked(|| self.set_size(0));
    }

    /// Returns the file's content.
    pub fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        let read = File::open(&self.host_path).and_then(|mut file| file.read_to_end(&mut content));
        if let Err(error) = read {
            violation!(Call, "{}: {error}", self.host_path.display());
        }
        content
    }

    /// Returns the path of the file on the host.
    pub fn host_path(&self) -> &Path {
        &self.host_path
    }

    /// Runs `work` with the vnode locked, as a write does. May sleep.
    pub fn locked<R>(&self, work: impl FnOnce() -> R) -> R {
        let sx = (&raw const self.lock).cast_mut();
        // SAFETY: create() has initialised the lock.
        unsafe { lock::sx_xlock(sx) };
        let result = work();
        // SAFETY: the lock is held since the call above.
        unsafe { lock::sx_xunlock(sx) };
        result
    }

    fn is_locked(&self) -> bool {
        witness::has(&raw const self.lock as usize, Kind::Exclusive)
    }

    fn set_size(&self, size: i64) {
        let before = self.size.swap(size, Ordering::Relaxed);
        self.disk.room.fetch_add(before - size, Ordering::Relaxed);
        if let Err(error) = self.file.set_len(size.cast_unsigned()) {
            violation!(Call, "{}: {error}", self.host_path.display());
        }
    }

    fn hold(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self) {
        if self.uses.fetch_sub(1, Ordering::Relaxed) <= 0 {
            violation!(Memory, "a vnode is released that nobody has");
        }
    }
}

/// Returns the number of references to vnodes, and the number of opens for writing.
pub(crate) fn references() -> (i64, i64) {
    let all = VNODES.lock().clone();
    all.iter().fold((0, 0), |(uses, writers), address| {
        // SAFETY: vnodes are never freed.
        let vnode = unsafe { &*(*address as *const Vnode) };
        (uses + vnode.uses.load(Ordering::Relaxed), writers + vnode.writers.load(Ordering::Relaxed))
    })
}

/// Returns the vnode of the stand-in, and checks that it is referenced.
///
/// # Safety
///
/// `vp` is a vnode of the stand-in.
unsafe fn vnode_of<'a>(vp: *mut sys::vnode) -> &'a Vnode {
    // SAFETY: `vp` is a vnode of the stand-in (see # Safety), and vnodes are never freed.
    let vnode = unsafe { &*vp.cast::<Vnode>() };
    if vnode.uses.load(Ordering::Relaxed) <= 0 {
        violation!(Memory, "a vnode is used that nobody has a reference to");
    }
    vnode
}

pub(crate) unsafe extern "C" fn vn_open(
    nd: *mut sys::nameidata,
    flags: *mut c_int,
    _: c_int,
    _: *mut c_void,
) -> c_int {
    let kt = current();
    witness::may_sleep(kt, format_args!("vn_open()"));
    point();
    // SAFETY: the caller passes a nameidata of NDINIT() with a path of user space.
    let (nd, flags) = unsafe { (&mut *nd, *flags) };
    let path = match user::string(nd.ni_dirp as usize) {
        Ok(path) => path,
        Err(errno) => return errno,
    };
    user::namei(kt, &path);
    let Some(address) = NAMES.lock().get(Path::new(&path)).copied() else { return ENOENT };
    // SAFETY: vnodes are never freed.
    let vnode = unsafe { &*(address as *const Vnode) };
    while vnode.disk.held.load(Ordering::SeqCst) {
        user::User::current().sleep(100_000);
    }
    let cred = cred::of(kt);
    match vnode.v.v_type {
        sys::VDIR => return EISDIR,
        sys::VLNK => return EMLINK,
        _ => {}
    }
    if flags.cast_unsigned() & sys::FWRITE != 0 && cred.uid() != 0 && cred.uid() != vnode.owner {
        return EACCES;
    }
    vnode.hold();
    vnode.writers.fetch_add(1, Ordering::Relaxed);
    // SAFETY: create() has initialised the lock.
    unsafe { lock::sx_xlock((&raw const vnode.lock).cast_mut()) };
    nd.ni_cnd.cn_pnbuf = heap::allocate(sys::MAXPATHLEN as usize, heap::NAMEI, false).cast();
    nd.ni_vp = address as *mut sys::vnode;
    0
}

pub(crate) unsafe extern "C" fn vn_close(
    vp: *mut sys::vnode,
    flags: c_int,
    _: *mut sys::ucred,
    _: *mut sys::thread,
) -> c_int {
    witness::may_sleep(current(), format_args!("vn_close()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    if vnode.is_locked() {
        violation!(LockUse, "vn_close() of a vnode that is locked");
    }
    if flags.cast_unsigned() & sys::FWRITE != 0 && vnode.writers.fetch_sub(1, Ordering::Relaxed) <= 0 {
        violation!(Call, "vn_close() of a vnode that is not open for writing");
    }
    vnode.locked(|| vnode.release());
    0
}

pub(crate) unsafe extern "C" fn _vn_lock(
    vp: *mut sys::vnode,
    flags: c_int,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    let sx = (&raw const unsafe { vnode_of(vp) }.lock).cast_mut();
    if flags.cast_unsigned() & sys::LK_NOWAIT != 0 {
        // SAFETY: create() has initialised the lock.
        return if unsafe { lock::sx_try_xlock_(sx, file, line) } != 0 { 0 } else { EBUSY };
    }
    // SAFETY: create() has initialised the lock.
    unsafe { lock::sx_xlock(sx) };
    0
}

pub(crate) unsafe extern "C" fn vput(vp: *mut sys::vnode) {
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    vnode.release();
    // SAFETY: create() has initialised the lock.
    unsafe { lock::sx_xunlock((&raw const vnode.lock).cast_mut()) };
}

pub(crate) unsafe extern "C" fn vrefact(vp: *mut sys::vnode) {
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { vnode_of(vp) }.hold();
}

/// Releases a reference.
///
/// # Safety
///
/// `vp` is a vnode of the stand-in.
pub(crate) unsafe fn vrele(vp: *mut sys::vnode) {
    // SAFETY: `vp` is a vnode of the stand-in (see # Safety).
    unsafe { vnode_of(vp) }.release();
}

pub(crate) unsafe extern "C" fn vn_start_write(
    vp: *mut sys::vnode,
    mpp: *mut *mut sys::mount,
    flags: c_int,
) -> c_int {
    let kt = current();
    // SAFETY: the caller keeps the contract of this kernel function.
    let disk = unsafe { vnode_of(vp) }.disk;
    let class = witness::class("leave to write");
    witness::before(disk.channel(), class, Kind::Leave, false);
    witness::may_sleep(kt, format_args!("vn_start_write()"));
    point();
    loop {
        // A suspending thread sets its flag first, and then checks for writers.
        disk.writers.fetch_add(1, Ordering::SeqCst);
        if !disk.suspended.load(Ordering::SeqCst) {
            break;
        }
        disk.writers.fetch_sub(1, Ordering::SeqCst);
        wake(disk.channel() + 1);
        if flags.cast_unsigned() & sys::V_NOWAIT != 0 {
            return EWOULDBLOCK;
        }
        let sleep = Sleep::prepare();
        if disk.suspended.load(Ordering::SeqCst) {
            sleep.on(disk.channel(), c"suspfs".as_ptr(), sys::TDI_SLEEPING, None);
        }
    }
    witness::taken(disk.channel(), class, Kind::Leave);
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { *mpp = disk.channel() as *mut sys::mount };
    0
}

pub(crate) unsafe extern "C" fn vn_finished_write(mp: *mut sys::mount) {
    point();
    if mp.is_null() {
        return;
    }
    witness::released(mp as usize, Kind::Leave, "leave to write");
    // SAFETY: `mp` comes from vn_start_write(). It is a disk, which is never freed.
    let disk = unsafe { &*(mp as *const Disk) };
    disk.writers.fetch_sub(1, Ordering::SeqCst);
    if disk.suspended.load(Ordering::SeqCst) {
        wake(disk.channel() + 1);
    }
}

pub(crate) unsafe extern "C" fn vn_rdwr(
    rw: sys::uio_rw,
    vp: *mut sys::vnode,
    base: *mut c_void,
    len: c_int,
    offset: sys::off_t,
    segment: sys::uio_seg,
    flags: c_int,
    active: *mut sys::ucred,
    _file: *mut sys::ucred,
    resid: *mut isize,
    td: *mut sys::thread,
) -> c_int {
    let kt = current();
    witness::may_sleep(kt, format_args!("vn_rdwr()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    // On a server, nothing may truncate the file later.
    let server = vnode.disk.interruptible.load(Ordering::Relaxed);
    let unit = if server { 0 } else { sys::IO_UNIT };
    let appends = flags.cast_unsigned() == sys::IO_APPEND | unit | sys::IO_NODELOCKED;
    let writes = server && flags.cast_unsigned() == sys::IO_SYNC | sys::IO_NODELOCKED;
    if rw != sys::UIO_WRITE || segment != sys::UIO_SYSSPACE || !(appends || writes) {
        violation!(Call, "vn_rdwr() of what the stand-in does not do");
    }
    if !vnode.is_locked() {
        violation!(LockUse, "vn_rdwr() of a vnode that is not locked");
    }
    if !witness::has(vnode.disk.channel(), Kind::Leave) {
        violation!(LockUse, "vn_rdwr() without leave to write");
    }
    if td != kt.as_ptr() || !kt.is_in_ktrace() {
        violation!(Call, "vn_rdwr() for another thread, or outside of the tracer");
    }
    cred::check(active);
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: the caller passes `len` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(base.cast::<u8>(), len) };
    // SAFETY: the field is the thread's own.
    let limit = unsafe { (*td).td_ktr_io_lim };
    match vnode.write(bytes, writes.then_some(offset), limit) {
        Ok(left) => {
            // SAFETY: the caller passes null, or room for the number of bytes left.
            match unsafe { resid.as_mut() } {
                Some(resid) => *resid = left as isize,
                None if left != 0 => return EIO,
                None => {}
            }
            0
        }
        Err(errno) => {
            // NFS says that nothing is in the file. See ncl_write() in the kernel.
            // SAFETY: the caller passes null, or room for the number of bytes left.
            let resid = unsafe { resid.as_mut() };
            if let (EINTR, Some(resid)) = (errno, resid) {
                *resid = len as isize;
            }
            errno
        }
    }
}

impl Vnode {
    /// Puts bytes into the file at an offset.
    fn put(&self, at: i64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, at.cast_unsigned()) {
            violation!(Call, "{}: {error}", self.host_path.display());
        }
        self.size.fetch_max(at + bytes.len() as i64, Ordering::Relaxed);
    }

    /// Appends, or writes at an offset, as far as the disk permits. Returns the number of bytes left.
    fn write(&self, bytes: &[u8], offset: Option<i64>, limit: i64) -> Result<usize, c_int> {
        let disk = self.disk;
        if disk.dead.load(Ordering::Relaxed) {
            return Err(EIO);
        }
        // A write that is sent in several parts may fail after the first one is written: see
        // ncl_write() in the kernel.
        let fails = current().random(100) < disk.failing.load(Ordering::Relaxed);
        if fails && bytes.len() <= PART {
            return Err(EIO);
        }
        while disk.hangs.load(Ordering::Relaxed) {
            let sleep = Sleep::prepare();
            sleep.on(self.disk.channel() + 3, c"nfsreq".as_ptr(), sys::TDI_SLEEPING, Some(1_000_000));
        }
        // Signals interrupt the wait for a server's answer, not its work.
        while current().random(2) == 0
            && let Some((at, bytes)) = self.late.lock().pop()
        {
            self.put(at, &bytes);
        }
        let at = offset.unwrap_or_else(|| self.size.load(Ordering::Relaxed));
        let interrupted = disk.is_interrupted();
        if interrupted {
            match current().random(3) {
                0 => return Err(EINTR),
                1 => {
                    self.late.lock().push((at, bytes.to_vec()));
                    return Err(EINTR);
                }
                _ => {}
            }
        }
        let rate = disk.rate.load(Ordering::Relaxed);
        if let Some(ns) = (bytes.len() as u64).saturating_mul(1_000_000_000).checked_div(rate) {
            let sleep = Sleep::prepare();
            sleep.on(self.disk.channel() + 2, c"biowr".as_ptr(), sys::TDI_SLEEPING, Some(ns.max(1)));
        }
        let mut take = bytes.len();
        if at >= limit {
            return Err(EFBIG);
        }
        // The part that fits below the limit is written without an error: see vn_rlimit_fsizex() in
        // the kernel.
        take = take.min(usize::try_from(limit - at).unwrap_or(usize::MAX));
        let silently_cut = bytes.len() - take;
        if fails || interrupted && current().random(2) == 0 {
            take = take.min(PART);
        }
        let room = usize::try_from(disk.room.load(Ordering::Relaxed)).unwrap_or(0);
        if take > room {
            if room == 0 || !disk.partial.load(Ordering::Relaxed) {
                return Err(ENOSPC);
            }
            take = room;
        }
        let mut written = bytes[..take].to_vec();
        if take > 80 && flaw::shows(flaw::Other::BitFlipped, 3) {
            written[take - 1] ^= 4;
        }
        if take > 80 && flaw::shows(flaw::Other::Uninitialised, 3) {
            written[72..80].copy_from_slice(&heap::JUNK);
        }
        if flaw::shows(flaw::Other::RecordTwice, 3) {
            written.extend_from_slice(&bytes[..take]);
        }
        self.put(at, &written);
        disk.room.fetch_sub(take as i64, Ordering::Relaxed);
        disk.writes.fetch_add(1, Ordering::Relaxed);
        disk.bytes.fetch_add(take as u64, Ordering::Relaxed);
        if fails {
            return Err(EIO);
        }
        if interrupted {
            return Err(EINTR);
        }
        Ok(bytes.len() - take - silently_cut)
    }
}

pub(crate) unsafe extern "C" fn vn_getsize_locked(
    vp: *mut sys::vnode,
    size: *mut sys::off_t,
    _: *mut sys::ucred,
) -> c_int {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    if !vnode.is_locked() {
        violation!(LockUse, "vn_getsize_locked() of a vnode that is not locked");
    }
    if vnode.disk.dead.load(Ordering::Relaxed) {
        return EBADF;
    }
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { *size = vnode.size.load(Ordering::Relaxed) };
    0
}

pub(crate) unsafe extern "C" fn vn_truncate_locked(
    vp: *mut sys::vnode,
    length: sys::off_t,
    _: bool,
    _: *mut sys::ucred,
) -> c_int {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    if !vnode.is_locked() || !witness::has(vnode.disk.channel(), Kind::Leave) {
        violation!(LockUse, "vn_truncate_locked() of a vnode that is not locked, or without leave to write");
    }
    if vnode.disk.is_interrupted() {
        return EINTR;
    }
    vnode.set_size(length);
    0
}

pub(crate) unsafe extern "C" fn vn_fullpath(
    vp: *mut sys::vnode,
    name: *mut *mut c_char,
    buffer: *mut *mut c_char,
) -> c_int {
    witness::may_sleep(current(), format_args!("vn_fullpath()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let vnode = unsafe { vnode_of(vp) };
    if vnode.removed.load(Ordering::Relaxed) {
        // The name cache has no entry, so the file system is asked. See vn_vptocnp() in the kernel.
        vnode.locked(|| ());
        return ENOENT;
    }
    let text = vnode.path.as_os_str().as_encoded_bytes();
    let memory = heap::allocate(text.len() + 1, "temp", true).cast::<u8>();
    // SAFETY: there is room for the text and a NUL; the caller passes valid out pointers.
    unsafe {
        memory.copy_from_nonoverlapping(text.as_ptr(), text.len());
        *name = memory.cast();
        *buffer = memory.cast();
    }
    0
}
