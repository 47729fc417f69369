//! The kernel's tables of system calls and of ast(9) handlers.

use core::ffi::{CStr, c_int, c_void};

use kernel_sys as sys;

use super::context::MaySleep;
use super::text::{Symbol, find_symbol};

/// A system call in a table of system calls.
pub(crate) struct Call {
    /// The name of the system call.
    pub(crate) name: &'static str,
    /// The name of the kernel function that handles it.
    pub(crate) function: &'static CStr,
    /// The address of the function in the table.
    pub(crate) address: usize,
}

/// Returns ktrace(2) and utrace(2) of native programs, and those of 32-bit programs if the kernel
/// runs these (COMPAT_FREEBSD32). May sleep.
pub(crate) fn ktrace_calls(_: MaySleep) -> impl Iterator<Item = Call> {
    let calls = [
        ("ktrace(2)", c"sys_ktrace", sys::SYS_ktrace as usize),
        ("utrace(2)", c"sys_utrace", sys::SYS_utrace as usize),
    ];
    let tables = [c"sysent", c"freebsd32_sysent"].into_iter().filter_map(find_symbol);
    tables.flat_map(move |table| {
        calls.map(|(name, function, number)| {
            // SAFETY: each table is an array of struct sysent that has all of the kernel's system
            // calls.
            let call = unsafe { (*(table as *const sys::sysent).add(number)).sy_call };
            Call { name, function, address: call.map_or(0, |call| call as usize) }
        })
    })
}

/// Returns the address of an ast(9) handler, or zero if there is none. May sleep.
///
/// Returns `None` if the table is not found, or is too short. The table is a static symbol, which
/// the kernel's linker does not find if debug.link_elf_leak_locals is off.
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
    // SAFETY: the table has more than `number` entries. A pointer is read as a whole.
    Some(unsafe { (&raw const (*(table as *const AstEntry).add(number)).handler).read_volatile() } as usize)
}
