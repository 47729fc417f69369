//! The kernel's tables of system calls and of handlers for ast(9).

use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;

use kernel_sys as sys;

use super::context::MaySleep;
use super::text::find_symbol;

/// A system call in a table of them.
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: &'static str,
    /// The function of the kernel that handles it.
    pub(crate) function: &'static CStr,
    /// The address of the function that the table has.
    pub(crate) address: usize,
}

/// Returns ktrace(2) and utrace(2) of native programs, and of 32-bit ones where the kernel runs these (COMPAT_FREEBSD32).
/// May sleep.
pub(crate) fn ktrace_calls(_: MaySleep) -> impl Iterator<Item = Call> {
    let calls = [
        ("ktrace(2)", c"sys_ktrace", sys::SYS_ktrace as usize),
        ("utrace(2)", c"sys_utrace", sys::SYS_utrace as usize),
    ];
    let tables = [c"sysent", c"freebsd32_sysent"].into_iter().filter_map(find_symbol);
    tables.flat_map(move |table| {
        calls.map(|(name, function, number)| {
            // SAFETY: each table is one of struct sysent, with all of the kernel's system calls.
            let call = unsafe { (*(table as *const sys::sysent).add(number)).sy_call };
            Call { name, function, address: call.map_or(0, |call| call as usize) }
        })
    })
}

/// Returns the address of a handler for ast(9), zero if there is none; `None` where nobody can tell: the table is static, and only
/// kernels with options DDB find it by name. May sleep.
pub(crate) fn ast_handler(_: MaySleep, number: u32) -> Option<usize> {
    /// `struct ast_entry` of subr_trap.c.
    #[repr(C)]
    struct AstEntry {
        flags: c_int,
        tdp: c_int,
        handler: *const c_void,
    }

    let mut values = MaybeUninit::<sys::linker_symval_t>::zeroed();
    // SAFETY: an out parameter of the right type, and a string.
    let table = unsafe {
        if sys::ktrace_rs_find_static(c"ast_entries".as_ptr(), values.as_mut_ptr()) != 0 {
            return None;
        }
        values.assume_init()
    };
    let number = number as usize;
    if number >= table.size / size_of::<AstEntry>() {
        return None;
    }
    // SAFETY: the table has more entries than that; a pointer is read whole.
    Some(unsafe { (&raw const (*table.value.cast::<AstEntry>().add(number)).handler).read_volatile() }
        as usize)
}
