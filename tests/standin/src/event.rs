//! ast(9), and the event `process_exit` of eventhandler(9).

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::{current, violation};
use crate::lock::{mtx_init_twice, mtx_lock, mtx_unlock};
use crate::sched::point;
use crate::thread::Kt;

/// The `struct ast_entry` of subr_trap.c.
#[repr(C)]
struct AstEntry {
    flags: c_int,
    tdp: c_int,
    handler: AtomicUsize,
}

/// The handlers of ast(9), by number (`ast_entries`).
static ASTS: [AstEntry; 32] = [const { AstEntry { flags: 0, tdp: 0, handler: AtomicUsize::new(0) } }; 32];

/// Returns the address and the size of the table of handlers.
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

/// Returns the number of handlers.
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

/// Calls the last deregistered handler of ast(9), which has gone with the module.
pub(crate) fn call_late() {
    // SAFETY: the module has registered a function of this type. It is unloaded by now, which a
    // check must find.
    unsafe {
        let function: unsafe extern "C" fn(*mut sys::thread, c_int) =
            std::mem::transmute(LAST.load(Ordering::Acquire));
        function(current().as_ptr(), 0);
    }
}

pub(crate) unsafe extern "C" fn ast_sched(td: *mut sys::thread, ast: c_int) {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe { Kt::of(td) }.schedule_ast(ast.cast_unsigned());
}

/// Runs the current thread's pending handlers before it returns to user mode.
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
            // SAFETY: ast_register() takes only functions of this type.
            let function: unsafe extern "C" fn(*mut sys::thread, c_int) =
                unsafe { std::mem::transmute(function) };
            crate::user::checked("a handler of ast(9)", || {
                // SAFETY: the handler is registered; the thread is the current one.
                unsafe { function(kt.as_ptr(), mask.cast_signed()) }
            });
        }
    }
}

/// The handlers of `process_exit`. They are linked as in the kernel, because the module walks the
/// list.
struct ExitList(UnsafeCell<MaybeUninit<sys::eventhandler_list>>);

// SAFETY: the list is accessed with its own mutex held, once that is initialised.
unsafe impl Sync for ExitList {}

static ON_EXIT: ExitList = ExitList(UnsafeCell::new(MaybeUninit::zeroed()));

const PROCESS_EXIT: &CStr = c"process_exit";
/// The `EHE_DEAD_PRIORITY` of the kernel.
const DEAD: c_int = -1;

type Handler = sys::eventhandler_entry_process_exit;

/// Keeps exiting threads from calling a handler that they have chosen.
pub(crate) static EXITS_WAIT: AtomicBool = AtomicBool::new(false);
/// The number of threads that wait for this.
pub(crate) static EXITS_WAITING: AtomicUsize = AtomicUsize::new(0);

fn on_exit() -> *mut sys::eventhandler_list {
    ON_EXIT.0.get().cast()
}

/// Initialises the list's mutex.
pub(crate) fn init_locks() {
    // SAFETY: no other thread uses the mutex yet.
    unsafe { mtx_init_twice(&raw mut (*on_exit()).el_lock, PROCESS_EXIT) };
}

/// Returns the number of handlers of `process_exit`.
pub(crate) fn exit_handlers() -> i64 {
    let list = on_exit();
    // SAFETY: the list is locked, and all entries are valid handlers.
    unsafe {
        mtx_lock(&raw mut (*list).el_lock);
        let first = (*list).el_entries.tqh_first;
        let entries = std::iter::successors((!first.is_null()).then_some(first), |entry| {
            let next = (**entry).ee_link.tqe_next;
            (!next.is_null()).then_some(next)
        });
        let count = entries.count() as i64;
        mtx_unlock(&raw mut (*list).el_lock);
        count
    }
}

pub(crate) unsafe extern "C" fn eventhandler_find_list(name: *const c_char) -> *mut sys::eventhandler_list {
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    if unsafe { CStr::from_ptr(name) } != PROCESS_EXIT {
        violation!(Call, "eventhandler_find_list() of another event");
    }
    let list = on_exit();
    // SAFETY: the mutex is initialised.
    unsafe { mtx_lock(&raw mut (*list).el_lock) };
    list
}

pub(crate) unsafe extern "C" fn eventhandler_register(
    _: *mut sys::eventhandler_list,
    name: *const c_char,
    function: *mut c_void,
    argument: *mut c_void,
    priority: c_int,
) -> sys::eventhandler_tag {
    // SAFETY: the caller keeps the contract of this kernel function; the function has the type of
    // the event.
    unsafe {
        let list = eventhandler_find_list(name);
        let mut handler = Box::new(MaybeUninit::<Handler>::zeroed().assume_init());
        handler.ee.ee_priority = priority;
        handler.ee.ee_arg = argument;
        handler.eh_func = std::mem::transmute::<*mut c_void, sys::exitlist_fn>(function);
        handler.ee.ee_link.tqe_next = (*list).el_entries.tqh_first;
        let entry = Box::into_raw(handler).cast::<sys::eventhandler_entry>();
        (*list).el_entries.tqh_first = entry;
        mtx_unlock(&raw mut (*list).el_lock);
        entry
    }
}

pub(crate) unsafe extern "C" fn eventhandler_deregister_nowait(
    list: *mut sys::eventhandler_list,
    tag: sys::eventhandler_tag,
) {
    // SAFETY: the caller has the list locked, and the tag is in it.
    unsafe {
        (*tag).ee_priority = DEAD;
        prune(list);
        mtx_unlock(&raw mut (*list).el_lock);
    }
}

/// Frees the deregistered handlers, unless handlers are being called. The list must be locked.
unsafe fn prune(list: *mut sys::eventhandler_list) {
    // SAFETY: the caller holds the list's lock. No thread calls handlers, so none uses an entry.
    unsafe {
        if (*list).el_runcount != 0 {
            return;
        }
        let mut link = &raw mut (*list).el_entries.tqh_first;
        while !(*link).is_null() {
            let entry = *link;
            if (*entry).ee_priority == DEAD {
                *link = (*entry).ee_link.tqe_next;
                drop(Box::from_raw(entry.cast::<Handler>()));
            } else {
                link = &raw mut (*entry).ee_link.tqe_next;
            }
        }
    }
}

/// Calls the handlers of `process_exit` for the current thread's process
/// (`EVENTHANDLER_DIRECT_INVOKE()`).
pub(crate) fn process_exits() {
    let (list, p) = (on_exit(), current().proc().as_ptr());
    // SAFETY: entries are not freed while handlers are being called, and the list changes only with
    // its lock held.
    unsafe {
        mtx_lock(&raw mut (*list).el_lock);
        (*list).el_runcount += 1;
        let mut entry = (*list).el_entries.tqh_first;
        while !entry.is_null() {
            if (*entry).ee_priority != DEAD {
                mtx_unlock(&raw mut (*list).el_lock);
                point();
                EXITS_WAITING.fetch_add(1, Ordering::SeqCst);
                while EXITS_WAIT.load(Ordering::SeqCst) {
                    crate::loads::me().sleep(100_000);
                }
                EXITS_WAITING.fetch_sub(1, Ordering::SeqCst);
                let (function, argument) = ((*entry.cast::<Handler>()).eh_func, (*entry).ee_arg);
                crate::user::checked("a handler of process_exit", || {
                    if let Some(function) = function {
                        function(argument, p);
                    }
                });
                mtx_lock(&raw mut (*list).el_lock);
            }
            entry = (*entry).ee_link.tqe_next;
        }
        (*list).el_runcount -= 1;
        prune(list);
        mtx_unlock(&raw mut (*list).el_lock);
    }
}
