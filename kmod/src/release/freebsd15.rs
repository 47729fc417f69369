//! Code for FreeBSD 15: records of arguments and environments of exec(2), and of extended errors.

use core::arch::global_asm;
use core::ffi::{c_char, c_int, c_void};
use core::mem::offset_of;

use kernel_sys as sys;
use ktrace_format::{Csw, EXTERR_LEN, EXTERR_MSG_LEN, Exterr, Kind, Payload, Timespec};
use static_assertions::const_assert_eq;

use crate::entry::entries;
use crate::kernel::context::MaySleep;
use crate::kernel::proc::CurrentThread;
use crate::machine::byte;
use crate::points::{asynchronous, asynchronous_at, encoded, kernel_bytes, prepared, wait_message};

/// `__FreeBSD_version` of the oldest supported kernel, 15.0.
pub(crate) const OLDEST: u32 = 1_500_068;

/// The record type with the largest number.
pub(crate) const LAST_KIND: Kind = Kind::Exterr;

/// Letters for trace points that only this release's ktrace(1) has.
pub(crate) static LETTERS: [(u8, u32); 3] =
    [(b'a', sys::KTRFAC_ARGS), (b'e', sys::KTRFAC_ENVS), (b'x', sys::KTRFAC_EXTERR)];

// Functions of `kern_ktrace.c` that other releases lack.
entries! {
    ktrcsw_out / enter_csw_out => ktrcsw_out, optional;
    ktrdata / enter_data => ktrdata;
    ktrexterr / enter_exterr => ktrexterr;
}

// Other releases lack this function. Without the weak reference, their linker would refuse the
// module before it can report why it does not load.
global_asm!(".weak exterr_to_ue");

/// Makes the first record of a sleep, when the sleep is over: the thread went to sleep at `time`.
/// Default mutexes may be held.
///
/// The function is new in FreeBSD 15.1. `_sleep()` and `msleep_spin_sbt()` read the clock before
/// the sleep, and make both records after it. If tracing began during the sleep, the time is the
/// former contents of the stack. The engine keeps no time from before tracing began.
///
/// # Safety
///
/// `time` points to the time at which a thread went to sleep. `wmesg` is null or a string.
unsafe extern "C" fn ktrcsw_out(time: *const sys::timespec, wmesg: *const c_char) {
    // SAFETY: the caller guarantees that `time` is valid, and `wmesg` is null or a string.
    let (time, wmesg) = unsafe { (*time, wait_message(wmesg)) };
    let noted = Timespec { sec: time.tv_sec, nsec: time.tv_nsec };
    let is_time = (0..1_000_000_000).contains(&noted.nsec);
    asynchronous_at(is_time.then_some(noted), &Payload::Csw(Csw { out: true, user: false, wmesg }));
}

/// Makes the record of the arguments or the environment of a program that is executed. May sleep.
///
/// # Safety
///
/// `data` is null, or points to `len` bytes of kernel memory.
unsafe extern "C" fn ktrdata(kind: c_int, data: *const c_void, len: usize) {
    let (kind, payload) = match kind.cast_unsigned() {
        sys::KTR_ARGS => (Kind::Args, Payload::Args(&[])),
        sys::KTR_ENVS => (Kind::Envs, Payload::Envs(&[])),
        _ => return,
    };
    if CurrentThread::get().is_in_ktrace() {
        return;
    }
    // SAFETY: the caller guarantees that `data` is null or valid. exec(2) calls this with nothing
    // locked, so it may sleep.
    let (data, may_sleep) = unsafe { (kernel_bytes(data, len), MaySleep::new()) };
    // Copied with nothing locked: the memory of exec_copyin_args() is pageable.
    let fill = |room: *mut u8| {
        // SAFETY: prepared() asks for data.len() bytes, and there is room for as many.
        unsafe { room.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        0
    };
    // SAFETY: fill() writes all bytes.
    if let Ok(mut record) = unsafe { prepared(may_sleep, &payload, data.len(), fill) } {
        encoded(may_sleep, kind, &mut record);
    }
}

/// Makes the record of an extended error of `td`, the current thread. Locks may be held.
///
/// # Safety
///
/// `td` is the current thread.
unsafe extern "C" fn ktrexterr(td: *mut sys::thread) {
    // The kernel calls this for every process.
    if CurrentThread::get().proc().traceflag() & Kind::Exterr.facility() == 0 {
        return;
    }
    // SAFETY: an all-zero struct uexterror is valid.
    let mut ue: sys::uexterror = unsafe { core::mem::zeroed() };
    // SAFETY: `td` is the current thread, as the caller guarantees, and reads its own error.
    if unsafe { sys::exterr_to_ue(td, &raw mut ue) } != 0 {
        return;
    }
    let msg = ue.msg.map(byte);
    asynchronous(&Payload::Exterr(Exterr {
        ver: ue.ver,
        error: ue.error,
        cat: ue.cat,
        src_line: ue.src_line,
        flags: ue.flags,
        p: [ue.p1, ue.p2],
        msg: msg.split(|byte| *byte == 0).next().unwrap_or_default(),
    }));
}

const_assert_eq!(EXTERR_LEN, size_of::<sys::ktr_exterr>());
const_assert_eq!(EXTERR_MSG_LEN, size_of::<sys::uexterror>() - offset_of!(sys::uexterror, msg));
