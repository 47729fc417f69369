//! The operations of a process: system calls, faults, signals, fork, exec. The ktrace backend is
//! called where the kernel calls it, with the same locks held and in the same context.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;
use ktrace_format::{
    CapData, CapFail, Csw, Fault, FaultEnd, Genio, Kind, Payload, Psig, Struct, StructArray, Syscall, Sysret,
};

use crate::host::{current, violation};
use crate::ledger::{CTOR, note};
use crate::low::Region;
use crate::proc::{Kp, SV_FLAGS};
use crate::sched::{self, Sleep, give_way, point};
use crate::text::{Stock, entry, has};
use crate::thread::{self, Kt, copy_name};
use crate::witness::{self, held};
use crate::{budget, clock, event, flaw, heap, kvar, ledger, lock, pageable, vnode};

const EFAULT: c_int = sys::EFAULT.cast_signed();

/// The facilities of all record types, 1 to 18.
pub const ALL: u32 = sys::KTRFAC_MASK & ((1 << 19) - 2);

// ---- user space ----

/// The size of user space.
const SPACE: usize = 1 << 30;
/// The address of the program that a process is about to execute: see [`User::exec`].
pub const NEW_IMAGE: u64 = 0x4000_0000;
/// The size of each thread's part of user space.
const SLOT: usize = 64 * 1024;

fn space() -> &'static Region {
    static USER: OnceLock<Region> = OnceLock::new();
    USER.get_or_init(|| Region::anywhere(SPACE))
}

/// Returns bytes of user space from an address, if all of them are mapped.
fn user_bytes<'a>(address: usize, len: usize) -> Option<&'a [u8]> {
    if len == 0 {
        return Some(&[]);
    }
    let space = space();
    let offset = address.checked_sub(space.base)?;
    let end = offset.checked_add(len)?;
    // SAFETY: the range is inside user space, which is mapped. Threads write only to their own
    // parts.
    (end <= space.len).then(|| unsafe { std::slice::from_raw_parts(address as *const u8, len) })
}

/// Returns a string of user space.
pub(crate) fn string(address: usize) -> Result<String, c_int> {
    for len in 1..=sys::MAXPATHLEN as usize {
        let bytes = user_bytes(address, len).ok_or(EFAULT)?;
        if bytes[len - 1] == 0 {
            return String::from_utf8(bytes[..len - 1].to_vec()).map_err(|_| sys::ENOENT.cast_signed());
        }
    }
    Err(sys::ENAMETOOLONG.cast_signed())
}

pub(crate) unsafe extern "C" fn copyin(from: *const c_void, to: *mut c_void, len: usize) -> c_int {
    witness::may_sleep(current(), format_args!("copyin()"));
    point();
    let Some(bytes) = user_bytes(from as usize, len) else { return EFAULT };
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), len) };
    0
}

pub(crate) unsafe extern "C" fn uiomove(to: *mut c_void, len: c_int, uio: *mut sys::uio) -> c_int {
    witness::may_sleep(current(), format_args!("uiomove()"));
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let uio = unsafe { &mut *uio };
    if uio.uio_rw != sys::UIO_WRITE {
        violation!(Call, "uiomove() in the other direction");
    }
    let (mut to, mut left) = (to.cast::<u8>(), usize::try_from(len).unwrap_or(0));
    while left > 0 && uio.uio_resid > 0 && uio.uio_iovcnt > 0 {
        // SAFETY: the uio has at least one more iovec.
        let iov = unsafe { &mut *uio.uio_iov };
        if iov.iov_len == 0 {
            // SAFETY: the uio has at least one more iovec.
            uio.uio_iov = unsafe { uio.uio_iov.add(1) };
            uio.uio_iovcnt -= 1;
            continue;
        }
        let part = left.min(iov.iov_len);
        let Some(bytes) = user_bytes(iov.iov_base as usize, part) else { return EFAULT };
        // SAFETY: the caller passes room for `len` bytes.
        unsafe {
            to.copy_from_nonoverlapping(bytes.as_ptr(), part);
            to = to.add(part);
        }
        iov.iov_base = iov.iov_base.wrapping_byte_add(part);
        iov.iov_len -= part;
        uio.uio_resid -= part as isize;
        left -= part;
    }
    0
}

pub(crate) unsafe extern "C" fn kern_yield(_: c_int) {
    give_way();
}

/// Finds no extended error: no thread of the stand-in has one.
pub(crate) unsafe extern "C" fn exterr_to_ue(_: *mut sys::thread, _: *mut c_void) -> c_int {
    sys::ENOENT.cast_signed()
}

// ---- the backend ----

/// Returns a function of the backend, as its callers see it.
fn backend<F: Copy>(stock: Stock) -> F {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    let address = entry(stock);
    // SAFETY: callers name the function's type in sys/ktrace.h.
    unsafe { std::mem::transmute_copy(&address) }
}

/// Calls into the module. Checks that it returns with the same locks and the same TDP_INKTRACE.
pub(crate) fn checked<R>(what: &str, call: impl FnOnce() -> R) -> R {
    let kt = current();
    let (locks, inside) = (held(kt).len(), kt.is_in_ktrace());
    let result = budget::stepped(call);
    if held(kt).len() != locks {
        violation!(Return, "{what} comes back with other locks than it went");
    }
    if kt.is_in_ktrace() != inside {
        violation!(Return, "{what} comes back with TDP_INKTRACE {}", if inside { "clear" } else { "set" });
    }
    result
}

/// Calls as [`checked`] does, where sleeping is not allowed.
fn without_sleep(what: &str, call: impl FnOnce()) {
    let kt = current();
    kt.no_sleep.set(kt.no_sleep.get() + 1);
    checked(what, call);
    kt.no_sleep.set(kt.no_sleep.get() - 1);
}

/// Checks `KTRPOINT()`. Lets other threads run between the check and the call.
fn ktrpoint(kt: &Kt, kind: Kind) -> bool {
    let traced = kt.proc().traceflag() & kind.facility() != 0 && !kt.is_in_ktrace();
    if traced {
        point();
    }
    traced
}

/// Records a context switch of the thread, as `_sleep()` does when the thread sleeps or runs again.
/// From FreeBSD 15.1 on, both records are made when the thread runs again. The time of the first is
/// read before the sleep, and only if the thread is traced then.
pub(crate) fn context_switch(kt: &Kt, out: bool, wmesg: *const c_char) {
    if !has(Stock::ktrcsw_out) {
        return csw(kt, out, false, wmesg);
    }
    if out {
        kt.slept_at.set(clock::junk());
        if kt.proc().traceflag() & Kind::Csw.facility() != 0 {
            let mut time = clock::junk();
            // SAFETY: the pointer is to a local timespec.
            unsafe { clock::nanotime(&raw mut time) };
            kt.slept_at.set(time);
        }
        return;
    }
    if ktrpoint(kt, Kind::Csw) {
        note_csw(kt, true, false, wmesg);
        let ktrcsw_out: unsafe extern "C" fn(*const sys::timespec, *const c_char) =
            backend(Stock::ktrcsw_out);
        without_sleep("ktrcsw_out()", || {
            // SAFETY: the arguments are as sys/ktrace.h requires.
            unsafe { ktrcsw_out(&raw const *kt.slept_at.as_ptr(), wmesg) }
        });
    }
    csw(kt, false, false, wmesg);
}

fn note_csw(kt: &Kt, out: bool, user: bool, wmesg: *const c_char) {
    // SAFETY: wait messages are NUL-terminated strings.
    let text = unsafe { CStr::from_ptr(wmesg) }.to_bytes();
    note(kt, &Payload::Csw(Csw { out, user, wmesg: &text[..text.len().min(7)] }));
}

fn csw(kt: &Kt, out: bool, user: bool, wmesg: *const c_char) {
    if !ktrpoint(kt, Kind::Csw) {
        return;
    }
    note_csw(kt, out, user, wmesg);
    let ktrcsw: unsafe extern "C" fn(c_int, c_int, *const c_char) = backend(Stock::ktrcsw);
    without_sleep("ktrcsw()", || {
        // SAFETY: the arguments are as sys/ktrace.h requires.
        unsafe { ktrcsw(out.into(), user.into(), wmesg) }
    });
}

/// Records the lookup of a path.
pub(crate) fn namei(kt: &Kt, path: &str) {
    if !ktrpoint(kt, Kind::Namei) {
        return;
    }
    note(kt, &Payload::Namei(path.as_bytes()));
    let path = CString::new(path).unwrap_or_default();
    let ktrnamei: unsafe extern "C" fn(*const c_char) = backend(Stock::ktrnamei);
    checked("ktrnamei()", || {
        // SAFETY: the path is a NUL-terminated string.
        unsafe { ktrnamei(path.as_ptr()) }
    });
}

/// Reports to the backend that the process has exited, except for its last thread.
pub(crate) fn process_exit(kt: &Kt) {
    if kt.proc().traceflag() & Kind::ProcDtor.facility() != 0 {
        note(kt, &Payload::ProcDtor);
    }
    let ktrprocexit: unsafe extern "C" fn(*mut sys::thread) = backend(Stock::ktrprocexit);
    checked("ktrprocexit()", || {
        // SAFETY: the thread is the current one.
        unsafe { ktrprocexit(kt.as_ptr()) }
    });
}

/// A thread that runs a program. It is the current thread.
#[derive(Debug)]
pub struct User {
    kt: &'static Kt,
    base: usize,
}

impl std::fmt::Debug for Kt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

/// The result of a system call, or its errno.
pub type Outcome = Result<u64, i32>;

impl User {
    /// Returns the current thread.
    pub fn current() -> User {
        static SLOTS: AtomicUsize = AtomicUsize::new(0);
        let slot = SLOTS.fetch_add(1, Ordering::Relaxed) % (SPACE / SLOT);
        User { kt: current(), base: space().base + slot * SLOT }
    }

    /// Returns the thread.
    pub fn thread(&self) -> &'static Kt {
        self.kt
    }

    /// Returns its process.
    pub fn process(&self) -> &'static Kp {
        self.kt.proc()
    }

    /// Returns a random number below `end`, from the seed.
    pub fn random(&self, end: u64) -> u64 {
        self.kt.random(end)
    }

    /// Copies bytes to the thread's part of user space. Returns their address.
    pub fn put(&self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(SLOT);
        // SAFETY: the slot is this thread's, and long enough.
        unsafe { (self.base as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), len) };
        self.base
    }

    /// Makes a system call as the kernel does: entry, `body`, return, and the work before user
    /// mode.
    pub fn syscall(&self, code: u32, args: &[u64], body: impl FnOnce(&User) -> Outcome) -> Outcome {
        let kt = self.kt;
        // SAFETY: the field is the thread's own.
        unsafe { (*kt.as_ptr()).td_sa.code = code };
        if ktrpoint(kt, Kind::Syscall) {
            note(kt, &Payload::Syscall(Syscall { code: code as i16, args: args.into() }));
            let ktrsyscall: unsafe extern "C" fn(c_int, c_int, *const u64) = backend(Stock::ktrsyscall);
            checked("ktrsyscall()", || {
                // SAFETY: the arguments are as sys/ktrace.h requires.
                unsafe { ktrsyscall(code.cast_signed(), args.len() as c_int, args.as_ptr()) }
            });
        }
        let result = body(self);
        let (error, value) = match result {
            Ok(value) => (0, value),
            Err(errno) => (errno, u64::MAX),
        };
        if error != 0 && has(Stock::ktrexterr) {
            let ktrexterr: unsafe extern "C" fn(*mut sys::thread) = backend(Stock::ktrexterr);
            without_sleep("ktrexterr()", || {
                // SAFETY: the thread is the current one.
                unsafe { ktrexterr(kt.as_ptr()) }
            });
        }
        if ktrpoint(kt, Kind::Sysret) {
            let retval = if error == 0 { value } else { 0 };
            note(kt, &Payload::Sysret(Sysret { code: code as i16, error, retval }));
            let ktrsysret: unsafe extern "C" fn(c_int, c_int, u64) = backend(Stock::ktrsysret);
            checked("ktrsysret()", || {
                // SAFETY: the arguments are plain numbers.
                unsafe { ktrsysret(code.cast_signed(), error, value) }
            });
        }
        self.return_to_user();
        result
    }

    /// Does the work on the way to user mode: handlers of ast(9), signals, and preemption.
    pub fn return_to_user(&self) {
        let kt = self.kt;
        point();
        for _ in 0..8 {
            let signal = 1 << sys::TDA_SIG;
            if kt.ast().load(Ordering::SeqCst) & signal != 0 {
                kt.ast().fetch_and(!signal, Ordering::SeqCst);
                self.deliver_signals();
            }
            event::run_asts();
            if kt.resched.load(Ordering::Relaxed) {
                // The rest of the stock backend's own path.
                let ktruserret: unsafe extern "C" fn(*mut sys::thread) = backend(Stock::ktruserret);
                checked("ktruserret()", || {
                    // SAFETY: the thread is the current one.
                    unsafe { ktruserret(kt.as_ptr()) }
                });
            }
            if kt.ast().load(Ordering::SeqCst) == 0 {
                break;
            }
        }
        if kt.resched.swap(false, Ordering::Relaxed) {
            csw(kt, true, true, c"ast_sch".as_ptr());
            give_way();
            csw(kt, false, true, c"ast_sch".as_ptr());
            event::run_asts();
        }
        if !held(kt).is_empty() {
            violation!(Return, "the thread is back in user mode with locks");
        }
    }

    fn deliver_signals(&self) {
        let (kt, kp) = (self.kt, self.kt.proc());
        kp.lock();
        if flaw::shows(flaw::Other::Recursed, 1) {
            kp.lock();
        }
        let pending = kp.pending.swap(0, Ordering::SeqCst);
        for signal in (1..64).filter(|signal| pending & (1 << signal) != 0) {
            kp.with_sigacts(|| self.psig(kt, signal, 0x20_1000, 0x10001));
        }
        kp.unlock();
    }

    fn psig(&self, kt: &Kt, signal: i32, handler: usize, code: i32) {
        if !ktrpoint(kt, Kind::Psig) {
            return;
        }
        // SAFETY: the field is the thread's own.
        let mask = unsafe { (*kt.as_ptr()).td_sigmask.__bits };
        note(kt, &Payload::Psig(Psig { signo: signal, action: handler as u64, code, mask }));
        let ktrpsig: unsafe extern "C" fn(c_int, usize, *mut sys::sigset_t, c_int) = backend(Stock::ktrpsig);
        without_sleep("ktrpsig()", || {
            // SAFETY: the mask is the thread's own.
            unsafe { ktrpsig(signal, handler, &raw mut (*kt.as_ptr()).td_sigmask, code) }
        });
    }

    /// Sends a signal to a process.
    pub fn kill(&self, other: &Kp, signal: u32) {
        other.lock();
        if !other.has_exited() && other.flag() & sys::P_WEXIT == 0 {
            other.post(signal);
        }
        other.unlock();
    }

    /// Records the lookup of a path.
    pub fn namei(&self, path: &str) {
        namei(self.kt, path);
    }

    /// Records a read or write of data. Each part is an address, which may be unmapped, and a
    /// length.
    pub fn genio_at(&self, fd: i32, write: bool, parts: &[(usize, usize)], error: i32) {
        if ktrpoint(self.kt, Kind::Genio) {
            self.genio_copied(fd, write, parts, error);
        }
    }

    /// Records as [`User::genio_at`] does, once the thread has found that it is traced.
    fn genio_copied(&self, fd: i32, write: bool, parts: &[(usize, usize)], error: i32) {
        let kt = self.kt;
        let len: usize = parts.iter().map(|part| part.1).sum();
        // SAFETY: the variable is set once, at boot.
        let most = unsafe { (*kvar::variables()).ktr_geniosize } as usize;
        let bytes: Option<Vec<u8>> = parts.iter().try_fold(Vec::new(), |mut bytes, (address, len)| {
            let wanted = (*len).min(most.saturating_sub(bytes.len()));
            if wanted != 0 {
                bytes.extend_from_slice(user_bytes(*address, wanted)?);
            }
            Some(bytes)
        });
        let rw = if write { sys::UIO_WRITE } else { sys::UIO_READ };
        let traced = kt.proc().traceflag() & Kind::Genio.facility() != 0 || ledger::in_churn();
        if let Some(bytes) = &bytes
            && traced
            && (error == 0 || (write && error != EFAULT))
        {
            note(kt, &Payload::Genio(Genio { fd, rw, data: bytes }));
        }
        let uio = clone_uio(parts, len, rw);
        let ktrgenio: unsafe extern "C" fn(c_int, sys::uio_rw, *mut sys::uio, c_int) =
            backend(Stock::ktrgenio);
        checked("ktrgenio()", || {
            // SAFETY: the callee owns the copy from here on.
            unsafe { ktrgenio(fd, rw, uio, error) }
        });
    }

    /// Records a read or write of data.
    pub fn genio(&self, fd: i32, write: bool, data: &[u8]) {
        let address = self.put(data);
        self.genio_at(fd, write, &[(address, data.len().min(SLOT))], 0);
    }

    /// Records a read of data that the thread waits for. As in dofileread(), the trace flag is
    /// checked before the wait.
    pub fn genio_late(&self, fd: i32, data: &[u8], wait: impl FnOnce(&User)) {
        let traced = ktrpoint(self.kt, Kind::Genio);
        wait(self);
        let address = self.put(data);
        if traced {
            self.genio_copied(fd, false, &[(address, data.len().min(SLOT))], 0);
        }
    }

    /// Records a structure that is passed through the system call.
    pub fn structure(&self, name: &CStr, data: &[u8]) {
        let kt = self.kt;
        if !ktrpoint(kt, Kind::Struct) {
            return;
        }
        note(kt, &Payload::Struct(Struct { name: name.to_bytes(), data }));
        let ktrstruct: unsafe extern "C" fn(*const c_char, *const c_void, usize) = backend(Stock::ktrstruct);
        checked("ktrstruct()", || {
            // SAFETY: the arguments are as sys/ktrace.h requires.
            unsafe { ktrstruct(name.as_ptr(), data.as_ptr().cast(), data.len()) }
        });
    }

    /// Records as [`User::structure`] does, unless the call has failed.
    pub fn structure_error(&self, name: &CStr, data: &[u8], error: i32) {
        let kt = self.kt;
        if !ktrpoint(kt, Kind::Struct) {
            return;
        }
        if error == 0 {
            note(kt, &Payload::Struct(Struct { name: name.to_bytes(), data }));
        }
        let ktrstruct_error: unsafe extern "C" fn(*const c_char, *const c_void, usize, c_int) =
            backend(Stock::ktrstruct_error);
        checked("ktrstruct_error()", || {
            // SAFETY: the arguments are as sys/ktrace.h requires.
            unsafe { ktrstruct_error(name.as_ptr(), data.as_ptr().cast(), data.len(), error) }
        });
    }

    /// Records an array of structures at an address of user space, which may be unmapped.
    pub fn structarray(&self, name: &CStr, address: usize, items: i32, size: usize) {
        let kt = self.kt;
        if !ktrpoint(kt, Kind::StructArray) {
            return;
        }
        // SAFETY: the variable is set once, at boot.
        let most =
            (unsafe { (*kvar::variables()).ktr_geniosize } as usize).checked_div(size).unwrap_or(0).max(1);
        let data = match (usize::try_from(items), address) {
            (Err(_), _) => None,
            (Ok(_), 0) => Some(&[][..]),
            (Ok(items), _) => user_bytes(address, (items.min(most)).saturating_mul(size)),
        };
        if let Some(data) = data {
            note(
                kt,
                &Payload::StructArray(StructArray { struct_size: size as u64, name: name.to_bytes(), data }),
            );
        }
        let ktrstructarray: unsafe extern "C" fn(*const c_char, sys::uio_seg, *const c_void, c_int, usize) =
            backend(Stock::ktrstructarray);
        checked("ktrstructarray()", || {
            // SAFETY: the arguments are as sys/ktrace.h requires; the address is one of user space.
            unsafe {
                ktrstructarray(name.as_ptr(), sys::UIO_USERSPACE, address as *const c_void, items, size)
            }
        });
    }

    /// Records a sysctl(3) by its number.
    pub fn sysctl(&self, name: &mut [c_int]) {
        let kt = self.kt;
        if !ktrpoint(kt, Kind::Sysctl) {
            return;
        }
        if let Some(text) = crate::sysctl::sysctl_name(name) {
            let text = CString::new(text).unwrap_or_default();
            note(kt, &Payload::Sysctl(text.as_bytes_with_nul()));
        }
        let ktrsysctl: unsafe extern "C" fn(*mut c_int, u32) = backend(Stock::ktrsysctl);
        checked("ktrsysctl()", || {
            // SAFETY: the name is valid for its length.
            unsafe { ktrsysctl(name.as_mut_ptr(), name.len() as u32) }
        });
    }

    /// Records a page fault and its result.
    pub fn fault(&self, vaddr: u64, kind: i32, result: i32) {
        self.fault_in(vaddr, kind, result, false);
    }

    /// Records as [`User::fault`] does. No record is expected of a fault within an exec.
    fn fault_in(&self, vaddr: u64, kind: i32, result: i32, exec: bool) {
        let kt = self.kt;
        if ktrpoint(kt, Kind::Fault) {
            if !exec {
                note(kt, &Payload::Fault(Fault { vaddr, fault_type: kind }));
            }
            let ktrfault: unsafe extern "C" fn(u64, c_int) = backend(Stock::ktrfault);
            without_sleep("ktrfault()", || {
                // SAFETY: the arguments are plain numbers.
                unsafe { ktrfault(vaddr, kind) }
                if flaw::shows(flaw::Other::SleepInFault, 1) {
                    // SAFETY: the wait message is a static string. Sleeping here is the injected
                    // flaw.
                    unsafe { lock::pause_sbt(c"flaw".as_ptr(), 1 << 20, 0, 0) };
                }
            });
        }
        if ktrpoint(kt, Kind::FaultEnd) {
            if !exec {
                note(kt, &Payload::FaultEnd(FaultEnd { result }));
            }
            let ktrfaultend: unsafe extern "C" fn(c_int) = backend(Stock::ktrfaultend);
            without_sleep("ktrfaultend()", || {
                // SAFETY: the argument is a plain number.
                unsafe { ktrfaultend(result) }
            });
        }
    }

    /// Takes a page fault in user mode, and returns there.
    pub fn trap(&self, vaddr: u64) {
        self.fault(vaddr, 1, 0);
        self.return_to_user();
    }

    /// Records a failed capsicum(4) check. `bytes` are the data for `kind` (`CAPFAIL_…`).
    pub fn capfail(&self, kind: u32, bytes: &[u8]) {
        let kt = self.kt;
        if !ktrpoint(kt, Kind::CapFail) {
            return;
        }
        let int = || i32::from_ne_bytes(bytes[..4].try_into().expect("an int"));
        let data = match kind {
            sys::CAPFAIL_SYSCALL | sys::CAPFAIL_SIGNAL | sys::CAPFAIL_PROTO => CapData::Int(int()),
            sys::CAPFAIL_SOCKADDR => CapData::Sockaddr(&bytes[..usize::from(bytes[0]).min(16)]),
            sys::CAPFAIL_NAMEI => {
                CapData::Path(&bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(0).min(1023)])
            }
            _ => CapData::None,
        };
        // SAFETY: the field is the thread's own.
        let code = unsafe { (*kt.as_ptr()).td_sa.code } as i16;
        note(kt, &Payload::CapFail(CapFail { cap_type: kind, code, svflags: SV_FLAGS, data }));
        // SAFETY: the field is the thread's own. The entry of the table says that capsicum(4)
        // allows the call.
        unsafe { (*kt.as_ptr()).td_sa.callp = allowed() };
        let ktrcapfail: unsafe extern "C" fn(u32, *const c_void) = backend(Stock::ktrcapfail);
        // SAFETY: the arguments are as sys/ktrace.h requires.
        let call = |data| unsafe { ktrcapfail(kind, data) };
        if kind == sys::CAPFAIL_NAMEI {
            // A path may be an argument of an exec, in pageable memory.
            pageable::lend(bytes, |data| checked("ktrcapfail()", || call(data)));
        } else {
            without_sleep("ktrcapfail()", || call(bytes.as_ptr().cast()));
        }
    }

    /// Sleeps for a number of nanoseconds.
    pub fn sleep(&self, nanoseconds: u64) {
        let sbt = (i128::from(nanoseconds) << 32) / 1_000_000_000;
        let sbt = i64::try_from(sbt).unwrap_or(i64::MAX).max(1);
        // SAFETY: the wait message is a static string, and the thread holds no lock.
        unsafe { lock::pause_sbt(c"nanslp".as_ptr(), sbt, 0, 0) };
    }

    /// Sleeps until [`User::wakeup`] of the channel, for at most a millisecond.
    pub fn sleep_on(&self, channel: &AtomicUsize) {
        context_switch(self.kt, true, c"piperd".as_ptr());
        Sleep::prepare().on(
            channel.as_ptr() as usize,
            c"piperd".as_ptr(),
            sys::TDI_SLEEPING,
            Some(1_000_000),
        );
        context_switch(self.kt, false, c"piperd".as_ptr());
    }

    /// Wakes all threads that sleep on a channel.
    pub fn wakeup(&self, channel: &AtomicUsize) {
        sched::wake(channel.as_ptr() as usize);
    }

    /// Lets other threads run, as the kernel does when a thread's time slice is over.
    pub fn preempted(&self) {
        self.kt.resched.store(true, Ordering::Relaxed);
        self.return_to_user();
    }

    /// Calls ktrace(2).
    pub fn ktrace(&self, path: Option<&str>, ops: u32, facs: u32, pid: i32) -> Outcome {
        let address = path.map_or(0, |path| {
            let path = CString::new(path).unwrap_or_default();
            self.put(path.as_bytes_with_nul())
        });
        self.syscall(45, &[address as u64, u64::from(ops), u64::from(facs)], |user| {
            // SAFETY: an all-zero struct ktrace_args is valid.
            let mut args: sys::ktrace_args = unsafe { std::mem::zeroed() };
            args.fname = address as *const c_char as _;
            args.ops = ops.cast_signed();
            args.facs = facs.cast_signed();
            args.pid = pid;
            let sys_ktrace: unsafe extern "C" fn(*mut sys::thread, *mut sys::ktrace_args) -> c_int =
                backend(Stock::sys_ktrace);
            // SAFETY: the thread is the current one.
            match checked("sys_ktrace()", || unsafe { sys_ktrace(user.kt.as_ptr(), &raw mut args) }) {
                0 => Ok(0),
                errno => Err(errno),
            }
        })
    }

    /// Starts tracing a process to a file with the facilities `facs`. Notes the records that the
    /// module makes of it by itself.
    ///
    /// The process must not do anything meanwhile.
    pub fn trace(&self, path: &str, facs: u32, other: &Kp) -> Outcome {
        let result = self.ktrace(Some(path), sys::KTROP_SET, facs, other.pid());
        // A failed first write has ended the trace already.
        if result.is_ok() && facs & Kind::ProcCtor.facility() != 0 {
            note(other.first_thread(), &CTOR);
        }
        result
    }

    /// Clears trace points of a process. Notes the records that the module makes of it by itself.
    /// The process must not do anything meanwhile.
    pub fn clear(&self, facs: u32, other: &Kp) -> Outcome {
        let result = self.ktrace(None, sys::KTROP_CLEAR, facs, other.pid());
        if result.is_ok() {
            note_ctor(other);
        }
        result
    }

    /// Calls utrace(2).
    pub fn utrace(&self, address: usize, len: usize) -> Outcome {
        self.syscall(335, &[address as u64, len as u64], |user| {
            // SAFETY: an all-zero struct utrace_args is valid.
            let mut args: sys::utrace_args = unsafe { std::mem::zeroed() };
            args.addr = address as *const c_void as _;
            args.len = len;
            // The module reads the flag again, and another process may have changed it by then.
            if (ktrpoint(user.kt, Kind::User) || ledger::in_churn())
                && len <= sys::KTR_USER_MAXLEN as usize
                && let Some(bytes) = user_bytes(address, len)
            {
                note(user.kt, &Payload::User(bytes));
            }
            let sys_utrace: unsafe extern "C" fn(*mut sys::thread, *mut sys::utrace_args) -> c_int =
                backend(Stock::sys_utrace);
            // SAFETY: the thread is the current one.
            match checked("sys_utrace()", || unsafe { sys_utrace(user.kt.as_ptr(), &raw mut args) }) {
                0 => Ok(0),
                errno => Err(errno),
            }
        })
    }

    /// Creates a child that does not run yet.
    pub fn fork(&self, comm: &str) -> Child {
        let kp = self.kt.proc();
        let (child, kt) = Kp::new(kp, comm, kp.uid(), None);
        let ktrprocfork: unsafe extern "C" fn(*mut sys::proc_, *mut sys::proc_) = backend(Stock::ktrprocfork);
        checked("ktrprocfork()", || {
            // SAFETY: the processes are the current one and its child.
            unsafe { ktrprocfork(kp.as_ptr(), child.as_ptr()) }
        });
        note_ctor(child);
        child.lock();
        // SAFETY: the process is locked.
        unsafe { (*child.as_ptr()).p_state = sys::PRS_NORMAL };
        child.unlock();
        Child { process: child, thread: kt }
    }

    /// Calls fork(2), which is [`User::fork`] as a system call.
    pub fn sys_fork(&self, comm: &str) -> Child {
        let mut born = None;
        let _ = self.syscall(2, &[], |user| {
            let child = born.insert(user.fork(comm));
            Ok(child.process.pid().unsigned_abs().into())
        });
        born.expect("the call was made")
    }

    /// Executes a new program. With `set_id`, the program runs with another user's rights.
    pub fn exec(&self, comm: &str, set_id: bool) {
        let (kt, kp) = (self.kt, self.kt.proc());
        let mut left = null_mut();
        self.exec_arguments(comm);
        kp.lock();
        // SAFETY: the process is locked.
        unsafe { (*kp.as_ptr()).p_flag |= sys::P_INEXEC.cast_signed() };
        kp.unlock();
        self.namei(comm);
        self.fault_in(NEW_IMAGE, 2, 0, true);
        // The time of the disk.
        self.sleep(1000);
        self.namei("/libexec/ld-elf.so.1");
        self.fault_in(NEW_IMAGE + 0x1000, 2, 0, true);
        kp.lock();
        // SAFETY: the process is locked, and the thread is its only one.
        unsafe {
            copy_name(comm, &mut (*kp.as_ptr()).p_comm);
            copy_name(comm, &mut (*kt.as_ptr()).td_name);
        }
        if set_id {
            // SAFETY: the process is locked.
            unsafe { (*kp.as_ptr()).p_flag |= sys::P_SUGID.cast_signed() };
            let ktrprocexec: unsafe extern "C" fn(*mut sys::proc_) -> *mut sys::ktr_io_params =
                backend(Stock::ktrprocexec);
            // SAFETY: the process is locked.
            left = checked("ktrprocexec()", || unsafe { ktrprocexec(kp.as_ptr()) });
        }
        // SAFETY: the process is locked.
        unsafe { (*kp.as_ptr()).p_flag &= !sys::P_INEXEC.cast_signed() };
        kp.unlock();
        let ktr_io_params_free: unsafe extern "C" fn(*mut sys::ktr_io_params) =
            backend(Stock::ktr_io_params_free);
        checked("ktr_io_params_free()", || {
            // SAFETY: the pointer is the one that ktrprocexec() has returned, or null.
            unsafe { ktr_io_params_free(left) }
        });
        note_ctor(kp);
        let ktrprocctor: unsafe extern "C" fn(*mut sys::proc_) = backend(Stock::ktrprocctor);
        checked("ktrprocctor()", || {
            // SAFETY: the process is the current one.
            unsafe { ktrprocctor(kp.as_ptr()) }
        });
    }

    /// Records the arguments and the environment of an exec, where the release has such records
    /// (FreeBSD 15).
    fn exec_arguments(&self, comm: &str) {
        let kt = self.kt;
        if !has(Stock::ktrdata) {
            return;
        }
        for kind in [Kind::Args, Kind::Envs] {
            if !ktrpoint(kt, kind) {
                continue;
            }
            let text = format!("{comm}\0-x\0");
            let payload = match kind {
                Kind::Args => Payload::Args(text.as_bytes()),
                _ => Payload::Envs(text.as_bytes()),
            };
            note(kt, &payload);
            let ktrdata: unsafe extern "C" fn(c_int, *const c_void, usize) = backend(Stock::ktrdata);
            // SAFETY: the arguments are as sys/ktrace.h requires.
            let call = |data| unsafe { ktrdata(kind as c_int, data, text.len()) };
            pageable::lend(text.as_bytes(), |data| checked("ktrdata()", || call(data)));
        }
    }

    /// Returns whether a process is traced, as procstat(1) asks. The reference to the file is
    /// released.
    pub fn look_at_trace(&self, other: &Kp) -> bool {
        let ktr_get_tracevp: unsafe extern "C" fn(*mut sys::proc_, bool) -> *mut sys::vnode =
            backend(Stock::ktr_get_tracevp);
        other.lock();
        // SAFETY: the process is locked.
        let vp = checked("ktr_get_tracevp()", || unsafe { ktr_get_tracevp(other.as_ptr(), true) });
        other.unlock();
        if !vp.is_null() {
            // SAFETY: the thread owns the reference.
            unsafe { vnode::vrele(vp) };
        }
        !vp.is_null()
    }

    /// Creates another thread of this process.
    pub fn thread_create(&self, name: &str, body: impl FnOnce(&User) + Send + 'static) -> &'static Kt {
        let kt = Kt::new(self.kt.proc(), name);
        self.kt.proc().add_thread(kt);
        thread::start(kt, Box::new(move || body(&User::current())));
        kt
    }

    /// Spends time in user mode.
    pub fn spin(&self, nanoseconds: u64) {
        let end = clock::now() + nanoseconds;
        while clock::now() < end {
            point();
        }
    }
}

/// Creates a process in a process group of its own. It does not run yet.
pub fn spawn(comm: &str, uid: u32) -> Child {
    let (process, thread) = Kp::new(current().proc(), comm, uid, Some(Kp::new_group(0)));
    // SAFETY: no other thread uses the group yet.
    unsafe { (*(*process.as_ptr()).p_pgrp).pg_id = process.pid() };
    process.lock();
    // SAFETY: the process is locked.
    unsafe { (*process.as_ptr()).p_state = sys::PRS_NORMAL };
    process.unlock();
    Child { process, thread }
}

/// A process that does not run yet.
#[derive(Clone, Copy, Debug)]
#[must_use = "it is on the lists, and never exits"]
pub struct Child {
    /// The process.
    pub process: &'static Kp,
    /// Its thread.
    pub thread: &'static Kt,
}

impl std::fmt::Debug for Kp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}", self.pid())
    }
}

impl Child {
    /// Runs the process.
    pub fn run(self, body: impl FnOnce(&User) + Send + 'static) -> &'static Kp {
        let start = move || {
            let user = User::current();
            user.return_to_user();
            body(&user);
        };
        thread::start(self.thread, Box::new(start));
        self.process
    }
}

/// Notes the module's record that a process is traced from now on, if it is.
fn note_ctor(kp: &Kp) {
    if kp.traceflag() & Kind::ProcCtor.facility() != 0 {
        note(kp.first_thread(), &CTOR);
    }
}

/// Copies a uio, as cloneuio(9) does.
fn clone_uio(parts: &[(usize, usize)], len: usize, rw: sys::uio_rw) -> *mut sys::uio {
    let size = size_of::<sys::uio>() + parts.len() * size_of::<sys::iovec>();
    // SAFETY: the type is the kernel's M_IOV.
    let uio = unsafe { heap::malloc(size, kvar::m_iov(), sys::M_WAITOK.cast_signed()) }.cast::<sys::uio>();
    // SAFETY: there is room for the uio and the parts behind it.
    unsafe {
        let iov = uio.add(1).cast::<sys::iovec>();
        for (index, (address, len)) in parts.iter().enumerate() {
            iov.add(index).write(sys::iovec { iov_base: *address as *mut c_void, iov_len: *len });
        }
        uio.write(sys::uio {
            uio_iov: iov,
            uio_iovcnt: parts.len() as c_int,
            uio_offset: 0,
            uio_resid: len as isize,
            uio_segflg: sys::UIO_USERSPACE,
            uio_rw: rw,
            uio_td: current().as_ptr(),
        });
    }
    uio
}

/// Returns an entry of the table of system calls that capsicum(4) allows.
fn allowed() -> *mut sys::sysent {
    static ALLOWED: OnceLock<usize> = OnceLock::new();
    *ALLOWED.get_or_init(|| {
        // SAFETY: an all-zero struct sysent is valid.
        let mut call: sys::sysent = unsafe { std::mem::zeroed() };
        call.sy_flags = sys::SYF_CAPENABLED as _;
        Box::into_raw(Box::new(call)) as usize
    }) as *mut sys::sysent
}

const _: () = assert!(size_of::<c_long>() == 8);
