//! Runs bindgen on the kernel headers in `KERNEL_CFLAGS`.

use std::env;
use std::path::PathBuf;

/// Functions that the module calls or replaces. The bindings of replaced functions give the
/// replacements their signatures.
const FUNCTIONS: &[&str] = &[
    // sys/ktrace.h and sys/sysproto.h: the interface that the module takes over.
    "ktr[a-z_]*",
    "exterr_to_ue",
    "sys_ktrace",
    "sys_utrace",
    // kmod/shims/shims.h
    "ktrace_rs_[a-z0-9_]*",
    // sys/proc.h
    "ast_(de)?register",
    "ast_sched",
    "cr_cansee",
    "p_candebug",
    "p_cansee",
    "kern_psignal",
    "kern_yield",
    "pfind",
    "pgfind",
    // sys/systm.h
    "copyin",
    "__mtx_(un)?lock_flags",
    "_mtx_trylock_flags_",
    "_sx_x(un)?lock",
    "cputick2usec",
    "nanotime",
    "panic",
    "pause_sbt",
    "printf",
    "wakeup",
    // sys/eventhandler.h
    "eventhandler_(deregister_nowait|find_list|register)",
    // sys/kthread.h
    "kproc_(create|exit)",
    // sys/counter.h
    "counter_u64_(alloc|free|fetch)",
    // sys/linker.h
    "linker_ddb_(search_symbol|symbol_values)",
    "linker_file_function_listall",
    "linker_file_lookup_symbol",
    // sys/malloc.h
    "free",
    "malloc",
    // sys/module.h
    "module_lookupbyname",
    // sys/priv.h, sys/ucred.h
    "crfree",
    "crhold",
    "priv_check",
    "priv_check_cred",
    // sys/resourcevar.h
    "lim_cur",
    // sys/smp.h
    "smp_rendezvous",
    // sys/sysctl.h
    "kernel_sysctl(byname)?",
    "sysctl_(add_oid|ctx_init|ctx_free)",
    "sysctl_handle_(64|int|string)",
    "sysctl_wire_old_buffer",
    // sys/syslog.h
    "log",
    // sys/uio.h
    "uiomove",
    // sys/vnode.h
    "_vn_lock",
    "vn_close",
    "vn_finished_write",
    "vn_fullpath",
    "vn_getsize_locked",
    "vn_rdwr",
    "vn_start_write",
    "vn_truncate_locked",
    "vput",
    "vrefact",
    // machine/md_var.h
    "disable_wp",
    "restore_wp",
    // machine/cpufunc.h
    "arm64_get_writable_addr",
];

const TYPES: &[&str] = &[
    "ktr_[a-z_]*",
    "ktrace_args",
    "eventhandler_entry_process_exit",
    "pcpu",
    "linker_symval_t",
    "linker_symval",
    "mod_metadata",
    "modeventtype.*",
    "moduledata",
    "nameidata",
    "pcb",
    "pgrp",
    "prison",
    "proc",
    "proclist",
    "sdt_argtype",
    "sdt_probe",
    "sdt_provider",
    "sockaddr",
    "sysctl_.*",
    "sysent",
    "sysentvec",
    "sysinit",
    "thread",
    "uio",
    "uexterror",
    "utrace_args",
    "vtype",
];

const VARIABLES: &[&str] = &[
    "allproc",
    "allproc_lock",
    "arm64_icache_sync_range",
    "cpu_ticks",
    "osreldate",
    "physmem",
    "linker_kernel_file",
    "modules_sx",
    "mp_maxid",
    "proctree_lock",
    "sysctl___kern",
    "CAPFAIL_.*",
    "CTL_MAXNAME",
    "CTLFLAG_.*",
    "CTLTYPE.*",
    "E[A-Z0-9]+",
    "EVENTHANDLER_PRI_ANY",
    "F(READ|WRITE)",
    "IO_.*",
    "KTR.*",
    "LK_(EXCLUSIVE|NOWAIT|RETRY)",
    "LOG_NOTICE",
    "M_(TEMP|WAITOK|ZERO|NOWAIT)",
    "MAXCOMLEN",
    "MAXPATHLEN",
    "MAXCPU",
    "MDT_MODULE",
    "MNT_LOCAL",
    "MOD_.*",
    "MTX_FLAGMASK",
    "NOCPU",
    "O_NOFOLLOW",
    "OID_AUTO",
    "PAGE_SIZE",
    "PCB_FP",
    "P_(INEXEC|INMEM|KPROC|SUGID|WEXIT)",
    "PRIV_(KTRACE|DEBUG_DIFFCRED|SEEOTHERUIDS|SEEOTHERGIDS|SEEJAILPROC)",
    "PRS_(NEW|NORMAL|ZOMBIE)",
    "RLIMIT_FSIZE",
    "SX_LOCK_(FLAGMASK|SHARED)",
    "SYF_CAPENABLED",
    "SYS_ktrace",
    "SYS_utrace",
    "TDP_INKTRACE",
    "TDA_(KTRACE|MOD1|SIG|SUSPEND)",
    "TDI_(SLEEPING|LOCK)",
    "TDS_[A-Z_]+",
    "SBT_1MS",
    "UIO_(READ|WRITE|SYSSPACE|USERSPACE)",
    "V(REG|DIR|LNK|BAD)",
    "CTL_AUTO_START",
    "ASTR_ASTF_REQUIRED",
    "SIGXFSZ",
    "V_(NO)?WAIT",
    "KTRACE_RS_TARGET",
    "ktrace_rs_sdt_watched",
];

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=../kmod/shims/shims.h");
    println!("cargo::rerun-if-changed=../kmod/src/release");
    println!("cargo::rerun-if-env-changed=KERNEL_CFLAGS");
    let cflags = env::var("KERNEL_CFLAGS")
        .expect("KERNEL_CFLAGS: not set; build the module with make, which finds the headers");
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_arg("-I../kmod/shims")
        .clang_args(cflags.split_whitespace())
        .use_core()
        .derive_debug(false)
        .layout_tests(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .generate_comments(false);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    let bindings = builder.generate().expect("bindgen over the kernel headers");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR is set by cargo"));
    bindings.write_to_file(out.join("kernel.rs")).expect("OUT_DIR is writable");
}
