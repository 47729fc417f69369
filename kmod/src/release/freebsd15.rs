//! FreeBSD 15: records of what a program is executed with, and of extended errors.

use core::arch::global_asm;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;

use kernel_sys as sys;
use ktrace_format::{EXTERR_LEN, EXTERR_MSG_LEN, Exterr, Kind, Payload};
use static_assertions::const_assert_eq;

use crate::entry::entries;
use crate::kernel::proc::Thread;
use crate::machine::byte;
use crate::points::{asynchronous, kernel_bytes, synchronous};

/// The record type with the largest number.
pub(crate) const LAST_KIND: Kind = Kind::Exterr;

/// Letters that ktrace(1) has for trace points, and other releases have not.
pub(crate) static LETTERS: [(u8, u32); 3] =
    [(b'a', sys::KTRFAC_ARGS), (b'e', sys::KTRFAC_ENVS), (b'x', sys::KTRFAC_EXTERR)];

// Functions of `kern_ktrace.c` that other releases have not.
entries! {
    ktrdata / enter_data => ktrdata;
    ktrexterr / enter_exterr => ktrexterr;
}

// Other releases have not: their linker would refuse the module before it can say why it does not load.
global_asm!(".weak exterr_to_ue");

/// Arguments or environment of a program that is executed. May sleep.
///
/// # Safety
///
/// `data` is null or `len` bytes of the kernel.
unsafe extern "C" fn ktrdata(kind: c_int, data: *const c_void, len: usize) {
    // SAFETY: the caller's.
    let data = unsafe { kernel_bytes(data, len) };
    match kind.cast_unsigned() {
        sys::KTR_ARGS => synchronous(&Payload::Args(data)),
        sys::KTR_ENVS => synchronous(&Payload::Envs(data)),
        _ => {}
    }
}

/// An extended error of `td`, the current thread. Locks may be held.
///
/// # Safety
///
/// `td` is the current thread.
unsafe extern "C" fn ktrexterr(td: *mut sys::thread) {
    // The kernel calls this for every process.
    if Thread::current().proc().traceflag() & Kind::Exterr.facility() == 0 {
        return;
    }
    // SAFETY: all zero is a struct uexterror.
    let mut ue: sys::uexterror = unsafe { core::mem::zeroed() };
    // SAFETY: the thread reads what it has noted itself.
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
