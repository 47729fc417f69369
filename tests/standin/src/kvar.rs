//! The kernel variables that the module names.

use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::OnceLock;

use kernel_sys as sys;

use crate::clock;
use crate::host::config;
use crate::lock::sx_init_flags;
use crate::low::Region;
use crate::machine;

/// The size of the table of system calls. utrace(2) is the last call that the module checks.
const SYSTEM_CALLS: usize = sys::SYS_utrace as usize + 1;

/// The size of the physical memory: 4 GiB.
const PHYSICAL_PAGES: i64 = 1024 * 1024;

/// The variables, in memory within reach of the module's relocations.
#[repr(C)]
pub(crate) struct Variables {
    pub(crate) allproc: sys::proclist,
    pub(crate) allproc_lock: sys::sx,
    pub(crate) proctree_lock: sys::sx,
    pub(crate) modules_sx: sys::sx,
    pub(crate) cpu_ticks: sys::cpu_tick_f,
    pub(crate) osreldate: i32,
    /// Physical memory in pages.
    pub(crate) physmem: i64,
    pub(crate) mp_maxid: u32,
    pub(crate) linker_kernel_file: usize,
    pub(crate) sysctl_kern: sys::sysctl_oid,
    pub(crate) m_temp: sys::malloc_type,
    pub(crate) m_iov: sys::malloc_type,
    pub(crate) namei_zone: usize,
    pub(crate) cap_no_rights: [u64; 2],
    pub(crate) sdt_probes_enabled: bool,
    pub(crate) sdt_probe_func: usize,
    pub(crate) ktr_geniosize: u32,
    pub(crate) ktr_filesize_limit_signal: i32,
    /// The table of system calls, for native and other programs.
    pub(crate) sysent: [sys::sysent; SYSTEM_CALLS],
    /// Whether kinst of dtrace(1) is loaded.
    pub(crate) kinst: bool,
    /// The kernel's linker set of the dynamic part of `struct pcpu`. Empty.
    pub(crate) set_pcpu: usize,
}

static VARIABLES: OnceLock<usize> = OnceLock::new();

/// Returns the variables.
pub(crate) fn variables() -> *mut Variables {
    *VARIABLES.get_or_init(|| {
        let base = Region::near(size_of::<Variables>()).base;
        let cpus = config().cpus;
        // SAFETY: the region is large enough, all zero, and used by no other thread.
        unsafe {
            let v = &mut *(base as *mut Variables);
            v.cpu_ticks = Some(clock::ticks);
            v.osreldate = sys::KTRACE_RS_TARGET.cast_signed();
            v.physmem = PHYSICAL_PAGES;
            v.mp_maxid = cpus as u32 - 1;
            v.linker_kernel_file = base;
            v.m_temp.ks_shortdesc = c"temp".as_ptr();
            v.m_iov.ks_shortdesc = c"iov".as_ptr();
            v.namei_zone = base;
            v.sdt_probe_func = probe as *const () as usize;
            v.ktr_geniosize = 4096;
            v.ktr_filesize_limit_signal = 0;
        }
        base
    }) as *mut Variables
}

/// Sets the functions that handle ktrace(2) and utrace(2).
pub(crate) fn set_system_calls(ktrace: usize, utrace: usize) {
    // SAFETY: no other thread uses the table now. A kernel function is called with its own type, or
    // not at all.
    unsafe {
        let table = &mut (*variables()).sysent;
        table[sys::SYS_ktrace as usize].sy_call = std::mem::transmute::<usize, sys::sy_call_t>(ktrace);
        table[sys::SYS_utrace as usize].sy_call = std::mem::transmute::<usize, sys::sy_call_t>(utrace);
    }
}

/// Initialises the kernel's locks among the variables.
pub(crate) fn init_locks() {
    let v = variables();
    // SAFETY: no other thread uses the locks yet.
    unsafe {
        sx_init_flags(&raw mut (*v).allproc_lock, c"allproc".as_ptr(), 0);
        sx_init_flags(&raw mut (*v).proctree_lock, c"proctree".as_ptr(), 0);
        sx_init_flags(&raw mut (*v).modules_sx, c"modules".as_ptr(), 0);
    }
}

/// Does nothing: an unused probe function of dtrace(1).
unsafe extern "C" fn probe(_: u32, _: usize, _: usize, _: usize, _: usize, _: usize) {}

/// Returns the names and addresses of the variables.
pub(crate) fn symbols() -> Vec<(&'static str, usize)> {
    let base = variables() as usize;
    let mut symbols = vec![
        ("allproc", offset_of!(Variables, allproc)),
        ("allproc_lock", offset_of!(Variables, allproc_lock)),
        ("proctree_lock", offset_of!(Variables, proctree_lock)),
        ("modules_sx", offset_of!(Variables, modules_sx)),
        ("cpu_ticks", offset_of!(Variables, cpu_ticks)),
        ("osreldate", offset_of!(Variables, osreldate)),
        ("physmem", offset_of!(Variables, physmem)),
        ("mp_maxid", offset_of!(Variables, mp_maxid)),
        ("linker_kernel_file", offset_of!(Variables, linker_kernel_file)),
        ("sysctl___kern", offset_of!(Variables, sysctl_kern)),
        ("M_TEMP", offset_of!(Variables, m_temp)),
        ("M_IOV", offset_of!(Variables, m_iov)),
        ("namei_zone", offset_of!(Variables, namei_zone)),
        ("cap_no_rights", offset_of!(Variables, cap_no_rights)),
        ("sdt_probes_enabled", offset_of!(Variables, sdt_probes_enabled)),
        ("sdt_probe_func", offset_of!(Variables, sdt_probe_func)),
        ("__start_set_pcpu", offset_of!(Variables, set_pcpu)),
        ("__stop_set_pcpu", offset_of!(Variables, set_pcpu)),
        ("sysent", offset_of!(Variables, sysent)),
        ("freebsd32_sysent", offset_of!(Variables, sysent)),
        ("ktr_geniosize", offset_of!(Variables, ktr_geniosize)),
        ("ktr_filesize_limit_signal", offset_of!(Variables, ktr_filesize_limit_signal)),
    ];
    for (_, address) in &mut symbols {
        *address += base;
    }
    symbols.extend(machine::variables());
    symbols
}

/// Returns `M_IOV`.
pub(crate) fn m_iov() -> *mut sys::malloc_type {
    // SAFETY: only the address is taken.
    unsafe { &raw mut (*variables()).m_iov }
}

/// Returns the handle of the kernel's own file in the linker.
pub(crate) fn kernel_file() -> *mut c_void {
    // SAFETY: the variable is set once.
    unsafe { (*variables()).linker_kernel_file as *mut c_void }
}

/// Returns whether kinst of dtrace(1) is loaded.
pub(crate) fn kinst_is_loaded() -> bool {
    // SAFETY: the flag is a plain bool, changed only while no module is being loaded.
    unsafe { (*variables()).kinst }
}

/// Returns the address of the lock of the modules.
pub(crate) fn modules_sx() -> usize {
    // SAFETY: only the address is taken.
    unsafe { &raw const (*variables()).modules_sx as usize }
}
