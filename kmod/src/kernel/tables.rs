//! The kernel's tables of system calls and of handlers for ast(9).

use core::ffi::{CStr, c_int, c_void};

use kernel_sys as sys;

use super::context::MaySleep;
use super::text::{Symbol, find_symbol};

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

/// Returns the address of a handler for ast(9), zero if there is none; `None` where nobody can tell: the table is static, and the
/// kernel's linker does not find it if debug.link_elf_leak_locals is off. May sleep.
pub(crate) fn ast_handler(_: MaySleep, number: u32) -> Option<usize> {
    /// `struct ast_entry` of subr_trap.c.
    #[repr(C)]
    struct AstEntry {
        flags: c_int,
        tdp: c_int,
        handler: *const c_void,
    }

    let table = find_symbol(c"ast_entries")?;
    let number = number as usize;
    if number >= Symbol::at(table)?.size / size_of::<AstEntry>() {
        return None;
    }
    // SAFETY: the table has more entries than that; a pointer is read whole.
    Some(unsafe { (&raw const (*(table as *const AstEntry).add(number)).handler).read_volatile() } as usize)
}
