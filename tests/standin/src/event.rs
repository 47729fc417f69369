//! ast(9).

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::{current, violation};
use crate::sched::point;
use crate::thread::Kt;

/// `struct ast_entry` of subr_trap.c.
#[repr(C)]
struct AstEntry {
    flags: c_int,
    tdp: c_int,
    handler: AtomicUsize,
}

/// The handlers of ast(9), by number (`ast_entries`).
static ASTS: [AstEntry; 32] = [const { AstEntry { flags: 0, tdp: 0, handler: AtomicUsize::new(0) } }; 32];

/// Where they are, and how many bytes that is.
pub(crate) fn table() -> (usize, usize) {
    (&raw const ASTS as usize, size_of_val(&ASTS))
}

/// Sets the stock backend's own handler.
pub(crate) fn set_stock(handler: usize) {
    ASTS[sys::TDA_KTRACE as usize].handler.store(handler, Ordering::Release);
}

/// Sets another module's handler, or none.
pub(crate) fn set_other(handler: usize) {
    ASTS[sys::TDA_MOD1 as usize].handler.store(handler, Ordering::Release);
}

/// How many there are.
pub(crate) fn asts() -> i64 {
    ASTS.iter().filter(|ast| ast.handler.load(Ordering::Relaxed) != 0).count() as i64
}

pub(crate) unsafe extern "C" fn ast_register(
    ast: c_int,
    _: c_int,
    _: c_int,
    function: Option<unsafe extern "C" fn(*mut sys::thread, c_int)>,
) {
    point();
    let slot = &ASTS[usize::try_from(ast).unwrap_or(0)].handler;
    if slot.swap(function.map_or(0, |function| function as usize), Ordering::AcqRel) != 0 {
        violation!(Call, "ast_register() of one that is registered");
    }
}

pub(crate) unsafe extern "C" fn ast_deregister(ast: c_int) {
    point();
    let function = ASTS[usize::try_from(ast).unwrap_or(0)].handler.swap(0, Ordering::AcqRel);
    if function == 0 {
        violation!(Call, "ast_deregister() of one that is not registered");
    }
    LAST.store(function, Ordering::Release);
}

/// The handler that was deregistered last.
static LAST: AtomicUsize = AtomicUsize::new(0);

/// Calls the handler of ast(9) that has gone with the module.
pub(crate) fn call_late() {
    // SAFETY: what was registered has this type. It is not there any more, which the check is to find.
    unsafe {
        let function: unsafe extern "C" fn(*mut sys::thread, c_int) =
            std::mem::transmute(LAST.load(Ordering::Acquire));
        function(current().as_ptr(), 0);
    }
}

pub(crate) unsafe extern "C" fn ast_sched(td: *mut sys::thread, ast: c_int) {
    point();
    // SAFETY: the caller's.
    unsafe { Kt::of(td) }.schedule_ast(ast.cast_unsigned());
}

/// Runs what the current thread has to do before it is back in user mode.
pub(crate) fn run_asts() {
    let kt = current();
    for (bit, ast) in ASTS.iter().enumerate() {
        let mask = 1_u32 << bit;
        if kt.ast().load(Ordering::SeqCst).cast_unsigned() & mask == 0 {
            continue;
        }
        kt.ast().fetch_and(!mask.cast_signed(), Ordering::SeqCst);
        let function = ast.handler.load(Ordering::Acquire);
        if function != 0 {
            point();
            // SAFETY: what was registered has this type.
            let function: unsafe extern "C" fn(*mut sys::thread, c_int) =
                unsafe { std::mem::transmute(function) };
            crate::user::checked("a handler of ast(9)", || {
                // SAFETY: as above; the thread is the current one.
                unsafe { function(kt.as_ptr(), mask.cast_signed()) }
            });
        }
    }
}
