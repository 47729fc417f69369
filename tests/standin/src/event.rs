//! EVENTHANDLER(9) of `process_exit`, and ast(9).

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, violation};
use crate::sched::{Sleep, point};
use crate::thread::{Kt, text_of};
use crate::witness;

/// What there is of a handler.
struct Handler {
    number: usize,
    function: usize,
    argument: usize,
}

static HANDLERS: HostLock<Vec<Handler>> = HostLock::new(Vec::new());
static NUMBERS: AtomicUsize = AtomicUsize::new(1);
/// Threads that are inside handlers.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Handlers that are registered.
pub(crate) fn handlers() -> i64 {
    HANDLERS.lock().len() as i64
}

pub(crate) unsafe extern "C" fn eventhandler_register(
    _: *mut c_void,
    name: *const c_char,
    function: *mut c_void,
    argument: *mut c_void,
    _: c_int,
) -> sys::eventhandler_tag {
    witness::may_sleep(current(), format_args!("eventhandler_register()"));
    point();
    // SAFETY: the caller's.
    let name = unsafe { text_of(name) };
    if name != "process_exit" {
        violation!(Call, "the stand-in has no event {name}");
    }
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    HANDLERS.lock().push(Handler { number, function: function as usize, argument: argument as usize });
    number as sys::eventhandler_tag
}

pub(crate) unsafe extern "C" fn eventhandler_find_list(name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's.
    if unsafe { text_of(name) } == "process_exit" {
        (&raw const HANDLERS).cast_mut().cast()
    } else {
        null_mut()
    }
}

/// Waits until no thread is inside a handler any more.
pub(crate) unsafe extern "C" fn eventhandler_deregister(_: *mut c_void, tag: sys::eventhandler_tag) {
    witness::may_sleep(current(), format_args!("eventhandler_deregister()"));
    point();
    let before = handlers();
    HANDLERS.lock().retain(|handler| handler.number != tag as usize);
    if handlers() == before {
        violation!(Call, "a handler is deregistered that is not registered");
    }
    while INSIDE.load(Ordering::Acquire) != 0 {
        let sleep = Sleep::prepare();
        if INSIDE.load(Ordering::Acquire) != 0 {
            sleep.on((&raw const INSIDE) as usize, c"evhrun".as_ptr(), sys::TDI_SLEEPING, Some(1_000_000));
        }
    }
}

/// Calls the handlers of `process_exit`.
pub(crate) fn process_exit(p: *mut sys::proc_) {
    INSIDE.fetch_add(1, Ordering::AcqRel);
    let all: Vec<(usize, usize)> =
        HANDLERS.lock().iter().map(|handler| (handler.function, handler.argument)).collect();
    for (function, argument) in all {
        point();
        // SAFETY: what was registered for this event has this type, and is not deregistered before this returns.
        let function: unsafe extern "C" fn(*mut c_void, *mut sys::proc_) =
            unsafe { std::mem::transmute(function) };
        crate::user::checked("a handler of process_exit", || {
            // SAFETY: as above.
            unsafe { function(argument as *mut c_void, p) }
        });
    }
    INSIDE.fetch_sub(1, Ordering::AcqRel);
    crate::sched::wake((&raw const INSIDE) as usize);
}

/// The handlers of ast(9), by number.
static ASTS: [AtomicUsize; 32] = [const { AtomicUsize::new(0) }; 32];

/// How many there are.
pub(crate) fn asts() -> i64 {
    ASTS.iter().filter(|ast| ast.load(Ordering::Relaxed) != 0).count() as i64
}

pub(crate) unsafe extern "C" fn ast_register(
    ast: c_int,
    _: c_int,
    _: c_int,
    function: Option<unsafe extern "C" fn(*mut sys::thread, c_int)>,
) {
    point();
    let slot = &ASTS[usize::try_from(ast).unwrap_or(0)];
    if slot.swap(function.map_or(0, |function| function as usize), Ordering::AcqRel) != 0 {
        violation!(Call, "ast_register() of one that is registered");
    }
}

pub(crate) unsafe extern "C" fn ast_deregister(ast: c_int) {
    point();
    let function = ASTS[usize::try_from(ast).unwrap_or(0)].swap(0, Ordering::AcqRel);
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
        let function = ast.load(Ordering::Acquire);
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
