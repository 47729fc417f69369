//! FreeBSD 14.

use ktrace_format::Kind;

use crate::entry::entries;
use crate::kernel::layout::layout;

/// The record type with the largest number.
pub(crate) const LAST_KIND: Kind = Kind::StructArray;

/// Letters that ktrace(1) has for trace points, and other releases have not.
pub(crate) static LETTERS: [(u8, u32); 0] = [];

// Functions of `kern_ktrace.c` that other releases have not.
entries! {}

layout! {
    thread {
        td_ucred: 384,
        td_generation: 676,
        td_name: 724,
        td_state: 1112,
        td_sa: 1008,
        td_pcb: 1104,
        td_kstack: 1216,
        td_kstack_pages: 1224,
    }
    sysentvec: 392 {}
}

#[cfg(target_arch = "x86_64")]
layout! {
    proc_: 1376 {}
    thread: 1776 {
        td_oncpu: 1740,
        td_ktr_io_lim: 1768,
    }
}

#[cfg(target_arch = "aarch64")]
layout! {
    proc_: 1352 {}
    thread: 1512 {
        td_oncpu: 1476,
        td_ktr_io_lim: 1504,
    }
}
