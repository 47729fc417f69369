//! The trace points: functions that the kernel calls for events in a traced process.
//!
//! All records go to the stream of the process's file. A point that may sleep ([`synchronous`])
//! also writes the stream, if the policy wants it. A point that may not sleep ([`asynchronous`])
//! leaves that to the return to user mode. A thread that is inside the tracer makes no records. The
//! callers and the locks that they hold are described in `sys/ktrace.h` and with each function.

use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_void};

use kernel_sys as sys;
use ktrace_engine::{Abandoned, Errno, Pending, Synchronous, WriteFailed};
use ktrace_format::{
    CapData, CapFail, Csw, Fault, FaultEnd, Genio, HEADER_LEN, Kind, Payload, Psig, Struct, StructArray,
    Syscall, Sysret, Timespec,
};

use crate::helper;
use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::log;
use crate::kernel::memory::append;
use crate::kernel::proc::{CurrentThread, ProcLocked, Thread};
use crate::platform::{Failures, Trace};
use crate::settings::{filesize_limit_signal, genio_size};

/// Maximum length of one system call's data in a record, whatever the value of
/// `kern.ktrace.genio_size`.
const GENIO_MAX: usize = 16 * 1024 * 1024;

const EINVAL: Errno = Errno(sys::EINVAL.cast_signed());

/// Length of the buffer for the name of a sysctl.
const MIB_NAME_LEN: usize = 128;

/// Records a system call's entry. May sleep.
///
/// # Safety
///
/// `args` points to `narg` registers.
pub(crate) unsafe extern "C" fn ktrsyscall(code: c_int, narg: c_int, args: *mut sys::syscallarg_t) {
    let narg = usize::try_from(narg).unwrap_or(0);
    let registers: &[u64] = match narg {
        0 => &[],
        // SAFETY: `args` points to `narg` registers (see # Safety); syscallarg_t is a 64-bit
        // register.
        _ => unsafe { core::slice::from_raw_parts(args.cast(), narg) },
    };
    // SAFETY: nothing is locked on the way into a system call.
    let may_sleep = unsafe { MaySleep::new() };
    synchronous(may_sleep, &Payload::Syscall(Syscall { code: code as i16, args: registers.into() }));
}

/// Records a system call's return. May sleep.
pub(crate) unsafe extern "C" fn ktrsysret(code: c_int, error: c_int, retval: sys::register_t) {
    let retval = if error == 0 { retval.cast_unsigned() } else { 0 };
    // SAFETY: nothing is locked on the way out of a system call.
    let may_sleep = unsafe { MaySleep::new() };
    synchronous(may_sleep, &Payload::Sysret(Sysret { code: code as i16, error, retval }));
}

/// Records a path that is looked up. May sleep.
///
/// # Safety
///
/// `path` is a string.
pub(crate) unsafe extern "C" fn ktrnamei(path: *const c_char) {
    // SAFETY: `path` is a string (see # Safety); a path is looked up where sleeping is allowed.
    let (path, may_sleep) = unsafe { (CStr::from_ptr(path), MaySleep::new()) };
    synchronous(may_sleep, &Payload::Namei(path.to_bytes()));
}

/// Records the use of a sysctl(3). May sleep.
///
/// # Safety
///
/// `name` points to `namelen` numbers.
pub(crate) unsafe extern "C" fn ktrsysctl(name: *mut c_int, namelen: sys::u_int) {
    if CurrentThread::get().is_in_ktrace() {
        return;
    }
    // The sysctl of sysctls: {0, 1, name} returns the name as text.
    let mut mib = [0; sys::CTL_MAXNAME as usize + 2];
    let Some((question, rest)) = mib.split_at_mut_checked(2) else { return };
    question.copy_from_slice(&[0, 1]);
    let namelen = usize::try_from(namelen).unwrap_or(0);
    let Some(rest) = rest.get_mut(..namelen) else { return };
    // SAFETY: `name` points to `namelen` numbers (see # Safety).
    rest.copy_from_slice(unsafe { core::slice::from_raw_parts(name, namelen) });
    let mut text = vec![0_u8; MIB_NAME_LEN];
    let mut len = MIB_NAME_LEN;
    // SAFETY: the name has namelen + 2 numbers, the text has room for len bytes, and no value is
    // set.
    let error = unsafe {
        sys::kernel_sysctl(
            CurrentThread::get().as_ptr(),
            mib.as_mut_ptr(),
            (namelen + 2) as sys::u_int,
            text.as_mut_ptr().cast(),
            &raw mut len,
            core::ptr::null_mut(),
            0,
            &raw mut len,
            0,
        )
    };
    // SAFETY: sysctl(3) calls this with no lock held that forbids sleeping.
    let may_sleep = unsafe { MaySleep::new() };
    if let (0, Some(text)) = (error, text.get(..len)) {
        synchronous(may_sleep, &Payload::Sysctl(text));
    }
}

/// Records the data of a read or a write. May sleep; frees `uio`.
///
/// # Safety
///
/// `uio` is a copy, from cloneuio(9), of the uio that the system call was given.
pub(crate) unsafe extern "C" fn ktrgenio(fd: c_int, rw: sys::uio_rw, uio: *mut sys::uio, error: c_int) {
    // SAFETY: reads and writes call this at their end, with nothing locked.
    let may_sleep = unsafe { MaySleep::new() };
    let wanted = error == 0 || (rw == sys::UIO_WRITE && error != sys::EFAULT.cast_signed());
    let record = if wanted && !CurrentThread::get().is_in_ktrace() {
        // SAFETY: `uio` is a copy from cloneuio(9) (see # Safety).
        unsafe { genio_record(may_sleep, fd, rw, &mut *uio) }
    } else {
        None
    };
    // SAFETY: the copy belongs to this function, which frees it once.
    unsafe { sys::ktrace_rs_free_iov(uio.cast()) };
    if let Some(mut record) = record {
        encoded(may_sleep, Kind::Genio, &mut record);
    }
}

/// Returns the record of a read or a write, with the data that `uio` describes and room for the
/// header. Returns `None` if the data cannot be copied. May sleep.
fn genio_record(may_sleep: MaySleep, fd: c_int, rw: sys::uio_rw, uio: &mut sys::uio) -> Option<Vec<u8>> {
    uio.uio_offset = 0;
    uio.uio_rw = sys::UIO_WRITE;
    let len = usize::try_from(uio.uio_resid).ok()?.min(genio_size()).min(GENIO_MAX);
    let n = c_int::try_from(len).ok()?;
    let payload = Payload::Genio(Genio { fd, rw, data: &[] });
    // SAFETY: uiomove(9) writes all of the bytes, or returns an errno. They are no more than the
    // uio has. With UIO_NOCOPY it writes nothing, but no caller of cloneuio(9) passes that.
    unsafe { prepared(may_sleep, &payload, len, |data| sys::uiomove(data.cast(), n, uio)) }.ok()
}

/// Records a structure that is passed through a system call. May sleep.
///
/// # Safety
///
/// `name` is a string, and `data` is null or points to `datalen` bytes of kernel memory.
pub(crate) unsafe extern "C" fn ktrstruct(name: *const c_char, data: *const c_void, datalen: usize) {
    // SAFETY: `name` and `data` are as # Safety requires; system calls call this where they may
    // sleep.
    let (name, data, may_sleep) =
        unsafe { (CStr::from_ptr(name), kernel_bytes(data, datalen), MaySleep::new()) };
    synchronous(may_sleep, &Payload::Struct(Struct { name: name.to_bytes(), data }));
}

/// Records a structure like [`ktrstruct`], if there was no error. May sleep.
///
/// # Safety
///
/// As for [`ktrstruct`].
pub(crate) unsafe extern "C" fn ktrstruct_error(
    name: *const c_char,
    data: *const c_void,
    datalen: usize,
    error: c_int,
) {
    if error == 0 {
        // SAFETY: `name` and `data` are as ktrstruct() requires (see # Safety).
        unsafe { ktrstruct(name, data, datalen) };
    }
}

/// Records an array of structures that is passed through a system call. May sleep.
///
/// # Safety
///
/// `name` is a string. `data` is null or points to `num_items` structures of `struct_size` bytes.
/// They are in kernel memory or, depending on `seg`, at an address of user space, which is checked.
pub(crate) unsafe extern "C" fn ktrstructarray(
    name: *const c_char,
    seg: sys::uio_seg,
    data: *const c_void,
    num_items: c_int,
    struct_size: usize,
) {
    if CurrentThread::get().is_in_ktrace() {
        return;
    }
    // SAFETY: `name` is a string (see # Safety); system calls call this where they may sleep.
    let (name, may_sleep) = unsafe { (CStr::from_ptr(name), MaySleep::new()) };
    let Ok(num_items) = usize::try_from(num_items) else { return };
    // As many items as kern.ktrace.genio_size has room for, but at least one.
    let most = genio_size().checked_div(struct_size).unwrap_or(0).max(1);
    let len = if data.is_null() { 0 } else { num_items.min(most).saturating_mul(struct_size).min(GENIO_MAX) };
    let payload = Payload::StructArray(StructArray {
        struct_size: struct_size as u64,
        name: name.to_bytes(),
        data: &[],
    });
    let fill = |room: *mut u8| {
        if seg != sys::UIO_SYSSPACE {
            // SAFETY: copyin(9) checks the address of user space, and writes len bytes.
            return unsafe { sys::copyin(data, room.cast(), len) };
        }
        // SAFETY: `data` has num_items * struct_size bytes (see # Safety). len is not larger, and
        // `room` has len bytes.
        unsafe { room.copy_from_nonoverlapping(kernel_bytes(data, len).as_ptr(), len) };
        0
    };
    // SAFETY: `fill` writes len bytes in both branches if it returns zero.
    if let Ok(mut record) = unsafe { prepared(may_sleep, &payload, len, fill) } {
        encoded(may_sleep, Kind::StructArray, &mut record);
    }
}

/// Records the delivery of a signal. The process and its signal actions are locked.
///
/// # Safety
///
/// `mask` points to the mask of the current thread.
pub(crate) unsafe extern "C" fn ktrpsig(
    sig: c_int,
    action: sys::sig_t,
    mask: *mut sys::sigset_t,
    code: c_int,
) {
    // SAFETY: `mask` is valid (see # Safety).
    let mask = unsafe { (*mask).__bits };
    let action = action.map_or(0, |handler| handler as usize as u64);
    asynchronous(&Payload::Psig(Psig { signo: sig, action, code, mask }));
}

/// Records a context switch. Default mutexes may be held.
///
/// # Safety
///
/// `wmesg` is null or a string.
pub(crate) unsafe extern "C" fn ktrcsw(out: c_int, user: c_int, wmesg: *const c_char) {
    // SAFETY: `wmesg` is null or a string (see # Safety).
    let wmesg = unsafe { wait_message(wmesg) };
    asynchronous(&Payload::Csw(Csw { out: out != 0, user: user != 0, wmesg }));
}

/// Returns the reason for a context switch as bytes.
///
/// # Safety
///
/// `wmesg` is null or a string that lives as long as the result is used.
pub(crate) unsafe fn wait_message<'a>(wmesg: *const c_char) -> &'a [u8] {
    // SAFETY: `wmesg` is null or a string (see # Safety).
    if wmesg.is_null() { &[] } else { unsafe { CStr::from_ptr(wmesg) }.to_bytes() }
}

/// Records the beginning of a page fault. Vnodes may be locked.
pub(crate) unsafe extern "C" fn ktrfault(vaddr: sys::vm_offset_t, fault_type: c_int) {
    fault(&Payload::Fault(Fault { vaddr, fault_type }));
}

/// Records the end of a page fault. Vnodes may be locked.
pub(crate) unsafe extern "C" fn ktrfaultend(result: c_int) {
    fault(&Payload::FaultEnd(FaultEnd { result }));
}

/// Adds a record of a page fault, unless the fault is within execve(2).
///
/// Such a fault is in the address space of the new program, which may be set-id. The user who
/// traces the old program must not learn the new program's addresses. No other record made in
/// execve(2) contains one: these records hold paths, wait messages and errors. `KTR_ARGS` and
/// `KTR_ENVS` are made before, from the strings that the old program has passed.
fn fault(payload: &Payload<'_>) {
    if !CurrentThread::get().proc().is_in_exec() {
        asynchronous(payload);
    }
}

/// Records a failed capsicum(4) check. Locks may be held. May sleep if the check was about a path.
///
/// # Safety
///
/// `data` is null or points to the member of `union ktr_cap_data` that `cap_type` selects.
pub(crate) unsafe extern "C" fn ktrcapfail(cap_type: sys::ktr_cap_violation, data: *const c_void) {
    let thread = CurrentThread::get();
    let (code, flags) = thread.syscall();
    if cap_type != sys::CAPFAIL_SYSCALL && flags & sys::SYF_CAPENABLED == 0 {
        return;
    }
    let path: Vec<u8>;
    let data = if data.is_null() {
        CapData::None
    } else if cap_type == sys::CAPFAIL_NAMEI {
        // The path of an exec(2) is pageable, and must not be read once a lock is taken: it is
        // copied.
        // SAFETY: `data` is a path for this `cap_type` (see # Safety).
        path = unsafe { CStr::from_ptr(data.cast()) }.to_bytes().to_vec();
        CapData::Path(&path)
    } else {
        // SAFETY: `data` points to the member that `cap_type` selects (see # Safety).
        unsafe { cap_data(cap_type, data) }
    };
    let svflags = thread.proc().sv_flags();
    asynchronous(&Payload::CapFail(CapFail { cap_type, code: code as i16, svflags, data }));
}

/// Returns the data of a check that was not about a path.
///
/// # Safety
///
/// `data` points to the member of `union ktr_cap_data` that `cap_type` selects.
unsafe fn cap_data<'a>(cap_type: sys::ktr_cap_violation, data: *const c_void) -> CapData<'a> {
    // SAFETY: in each case, `data` points to the member that `cap_type` selects (see # Safety). An
    // address is as long as its sa_len says.
    unsafe {
        match cap_type {
            sys::CAPFAIL_NOTCAPABLE | sys::CAPFAIL_INCREASE => {
                let rights = &*data.cast::<[sys::cap_rights_t; 2]>();
                CapData::Rights { needed: rights[0].cr_rights, held: rights[1].cr_rights }
            }
            sys::CAPFAIL_SYSCALL | sys::CAPFAIL_SIGNAL | sys::CAPFAIL_PROTO => {
                CapData::Int(data.cast::<c_int>().read())
            }
            sys::CAPFAIL_SOCKADDR => {
                let len = usize::from(data.cast::<u8>().read()).min(size_of::<sys::sockaddr>());
                CapData::Sockaddr(kernel_bytes(data, len))
            }
            _ => CapData::None,
        }
    }
}

/// # Safety
///
/// `data` is null or points to `len` bytes of kernel memory.
pub(crate) unsafe fn kernel_bytes<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    if data.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: `data` points to `len` bytes of kernel memory (see # Safety).
    unsafe { core::slice::from_raw_parts(data.cast(), len) }
}

/// Adds a record of the current thread, which may not sleep.
pub(crate) fn asynchronous(payload: &Payload<'_>) {
    asynchronous_at(None, payload);
}

/// Adds a record like [`asynchronous`], with the time that the kernel has noted for it, if any.
pub(crate) fn asynchronous_at(noted: Option<Timespec>, payload: &Payload<'_>) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace_of(payload.kind()) else { return };
    enqueue(trace, *inside.thread(), noted, payload);
}

/// Adds a record of a thread, and requests the drain that it needs. May not sleep.
pub(crate) fn enqueue(trace: &Trace, thread: Thread<'_>, noted: Option<Timespec>, payload: &Payload<'_>) {
    match trace.enqueue(&thread.origin(), noted, payload) {
        Pending::Nothing => {}
        Pending::Drain => thread.schedule_drain(),
        Pending::Help => {
            thread.schedule_drain();
            helper::wake();
        }
    }
}

/// Commits a record of the current thread, which may sleep.
#[inline]
pub(crate) fn synchronous(may_sleep: MaySleep, payload: &Payload<'_>) {
    commit(may_sleep, Synchronous::payload(payload));
}

/// Commits a record like [`synchronous`]. The record is already encoded, except for its header.
pub(crate) fn encoded(may_sleep: MaySleep, kind: Kind, record: &mut [u8]) {
    commit(may_sleep, Synchronous::encoded(kind, record));
}

/// Returns a record of `payload` and `len` bytes of data, with room for the header. `fill` writes
/// the data to its argument, or returns an errno. May sleep.
///
/// # Safety
///
/// The same as for [`append`].
pub(crate) unsafe fn prepared(
    may_sleep: MaySleep,
    payload: &Payload<'_>,
    len: usize,
    fill: impl FnOnce(*mut u8) -> c_int,
) -> Result<Vec<u8>, Errno> {
    let before = HEADER_LEN.checked_add(payload.len()).ok_or(EINVAL)?;
    let mut record = Vec::with_capacity(before.checked_add(len).ok_or(EINVAL)?);
    record.resize(before, 0);
    record.get_mut(HEADER_LEN..).and_then(|body| payload.encode(body)).ok_or(EINVAL)?;
    // SAFETY: `fill` is as append() requires (see # Safety).
    unsafe { append(may_sleep, &mut record, len, fill) }?;
    Ok(record)
}

fn commit(may_sleep: MaySleep, record: Synchronous<'_>) {
    let Some(inside) = InKtrace::enter() else { return };
    let Some(trace) = inside.trace_of(record.kind()) else { return };
    let thread = inside.thread();
    // Points that may sleep are in system calls. The record of the call's return writes earlier
    // records.
    let sysret_writes = thread.proc().traceflag() & Kind::Sysret.facility() != 0;
    let (pending, failures) = trace.commit(may_sleep, &thread.origin(), record);
    if thread.is_about_to_stop() {
        // The next record may come a long time later.
        trace.want_flush();
        thread.schedule_drain();
    } else if pending != Pending::Nothing && !sysret_writes {
        thread.schedule_drain();
    }
    if !failures.is_empty() {
        write_failed(may_sleep, failures);
    }
}

/// Ends the tracing of processes whose records could not be written, and logs it. A process that is
/// traced to another file by now stays traced. May sleep.
pub(crate) fn write_failed(may_sleep: MaySleep, failures: Failures) {
    for failed in failures {
        let WriteFailed { pid, errno: Errno(errno), again, .. } = failed;
        let locked = ProcLocked::find(may_sleep, pid);
        let trace = locked.as_ref().and_then(ProcLocked::trace);
        // A process that has exited was traced to that file until it exited.
        let abandoned = trace.map(|trace| trace.abandon(&failed));
        if abandoned == Some(Abandoned::Before) || abandoned.is_none() && again {
            continue;
        }
        let goes_on = trace.is_some_and(Trace::is_traced);
        if let Some(p) = &locked
            && abandoned == Some(Abandoned::Now(()))
        {
            p.set_traceflag(0);
            if errno == sys::EFBIG.cast_signed() && filesize_limit_signal() {
                p.signal(sys::SIGXFSZ);
            }
        }
        drop(locked);
        helper::wake();
        log::write_failed(errno, pid, goes_on);
    }
}
