//! The kernel functions that the module calls, by name.

use crate::clock::{cputick2usec, nanotime};
use crate::console::{log, panic, printf};
use crate::counter::{counter_u64_alloc, counter_u64_fetch, counter_u64_free};
use crate::cred::{cr_cansee, crfree, crhold, p_candebug, p_cansee, priv_check, priv_check_cred};
use crate::event::{
    ast_deregister, ast_register, ast_sched, eventhandler_deregister_nowait, eventhandler_find_list,
    eventhandler_register,
};
use crate::heap::{free, malloc, malloc_init, malloc_uninit, uma_zfree_arg};
use crate::link::module_register_init;
use crate::lock::{
    __mtx_lock_flags, __mtx_unlock_flags, _mtx_destroy, _mtx_init, _mtx_trylock_flags_, _sleep, _sx_slock,
    _sx_sunlock, _sx_xlock, _sx_xunlock, pause_sbt, sx_destroy, sx_init_flags, sx_try_xlock_, wakeup,
};
use crate::machine;
use crate::proc::{kern_psignal, kproc_create, kproc_exit, lim_cur, pfind, pgfind};
use crate::sched::smp_rendezvous;
use crate::sysctl::{
    kernel_sysctl, kernel_sysctlbyname, sysctl_add_oid, sysctl_ctx_free, sysctl_ctx_init, sysctl_handle_64,
    sysctl_handle_int, sysctl_handle_string, sysctl_wire_old_buffer,
};
use crate::text::{
    linker_ddb_search_symbol, linker_ddb_symbol_values, linker_file_function_listall,
    linker_file_lookup_symbol, module_lookupbyname,
};
use crate::user::{copyin, exterr_to_ue, kern_yield, uiomove};
use crate::vnode::{
    _vn_lock, vn_close, vn_finished_write, vn_fullpath, vn_getsize_locked, vn_open, vn_rdwr, vn_start_write,
    vn_truncate_locked, vput, vrefact,
};
use libc::{memcmp, memcpy, memmove, memset, strlen};

/// Defines `function()`, which returns the address of a kernel function.
macro_rules! functions {
    ($($name:ident,)*) => {
        pub(crate) fn function(name: &str) -> Option<usize> {
            match name {
                $(stringify!($name) => Some($name as *const () as usize),)*
                _ => machine::import(name),
            }
        }
    };
}

functions! {
    __mtx_lock_flags,
    __mtx_unlock_flags,
    _mtx_destroy,
    _mtx_init,
    _mtx_trylock_flags_,
    _sleep,
    _sx_slock,
    _sx_sunlock,
    _sx_xlock,
    _sx_xunlock,
    _vn_lock,
    ast_deregister,
    ast_register,
    ast_sched,
    copyin,
    counter_u64_alloc,
    counter_u64_fetch,
    counter_u64_free,
    cputick2usec,
    cr_cansee,
    crfree,
    crhold,
    eventhandler_deregister_nowait,
    eventhandler_find_list,
    eventhandler_register,
    exterr_to_ue,
    free,
    kern_psignal,
    kern_yield,
    kernel_sysctl,
    kernel_sysctlbyname,
    kproc_create,
    kproc_exit,
    lim_cur,
    linker_ddb_search_symbol,
    linker_ddb_symbol_values,
    linker_file_function_listall,
    linker_file_lookup_symbol,
    log,
    malloc,
    malloc_init,
    malloc_uninit,
    memcmp,
    memcpy,
    memmove,
    memset,
    module_lookupbyname,
    module_register_init,
    nanotime,
    p_candebug,
    p_cansee,
    panic,
    pause_sbt,
    pfind,
    pgfind,
    printf,
    priv_check,
    priv_check_cred,
    smp_rendezvous,
    strlen,
    sx_destroy,
    sx_init_flags,
    sx_try_xlock_,
    sysctl_add_oid,
    sysctl_ctx_free,
    sysctl_ctx_init,
    sysctl_handle_64,
    sysctl_handle_int,
    sysctl_handle_string,
    sysctl_wire_old_buffer,
    uiomove,
    uma_zfree_arg,
    vn_close,
    vn_finished_write,
    vn_fullpath,
    vn_getsize_locked,
    vn_open,
    vn_rdwr,
    vn_start_write,
    vn_truncate_locked,
    vput,
    vrefact,
    wakeup,
}
