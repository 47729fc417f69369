//! Where the kernel has what the module touches: the same numbers as in `shims/layout.c`,
//! so that the C compiler and bindgen must agree, and the record format with both.

use kernel_sys as sys;
use ktrace_format::{
    CAP_FAIL_LEN, Csw, Fault, FaultEnd, Genio, HEADER_LEN, MAXCOMLEN, MAXPATHLEN, Payload, ProcCtor, Psig,
    Sysret, VERSION1,
};
use static_assertions::const_assert_eq;

/// Asserts sizes, where the releases agree on them, and offsets in bytes.
macro_rules! layout {
    ($($type:ident$(: $size:literal)? { $($field:ident: $offset:literal),* $(,)? })*) => {
        $(
            $(static_assertions::const_assert_eq!(size_of::<kernel_sys::$type>(), $size);)?
            $(static_assertions::const_assert_eq!(core::mem::offset_of!(kernel_sys::$type, $field), $offset);)*
        )*
    };
}
pub(crate) use layout;

layout! {
    proc_ {
        p_list: 0,
        p_threads: 16,
        p_flag: 184,
        p_state: 192,
        p_pid: 196,
        p_pglist: 216,
        p_pptr: 232,
        p_sibling: 240,
        p_children: 256,
        p_traceflag: 832,
        p_ktrioparms: 840,
        p_comm: 992,
        p_sysent: 1016,
        p_numthreads: 1104,
    }
    thread {
        td_proc: 8,
        td_plist: 16,
        td_tid: 160,
        td_ast: 268,
        td_pflags: 276,
    }
    pcpu {
        pc_curthread: 0,
        pc_cpuid: 60,
    }
    pgrp: 120 {
        pg_members: 16,
    }
    syscall_args: 80 {
        code: 0,
        callp: 8,
    }
    sysent: 32 {
        sy_flags: 17,
    }
    sysentvec {
        sv_flags: 192,
    }
    ktr_header: 64 {
        ktr_len: 0,
        ktr_type: 4,
        ktr_version: 6,
        ktr_pid: 8,
        ktr_comm: 12,
        ktr_time: 32,
        ktr_tid: 48,
        ktr_cpu: 56,
    }
    ktr_syscall: 16 {
        ktr_code: 0,
        ktr_narg: 2,
        ktr_args: 8,
    }
    ktr_sysret: 16 {
        ktr_code: 0,
        ktr_eosys: 2,
        ktr_error: 4,
        ktr_retval: 8,
    }
    ktr_genio: 8 {
        ktr_fd: 0,
        ktr_rw: 4,
    }
    ktr_psig: 40 {
        signo: 0,
        action: 8,
        code: 16,
        mask: 20,
    }
    ktr_csw: 16 {
        out: 0,
        user: 4,
        wmesg: 8,
    }
    ktr_proc_ctor: 4 {
        sv_flags: 0,
    }
    ktr_cap_fail: 1040 {
        cap_type: 0,
        cap_code: 4,
        cap_svflags: 8,
        cap_data: 16,
    }
    ktr_fault: 16 {
        vaddr: 0,
        type_: 8,
    }
    ktr_faultend: 4 {
        result: 0,
    }
    ktr_struct_array: 8 {
        struct_size: 0,
    }
}

// The record format, against the kernel's structures.
const_assert_eq!(HEADER_LEN, size_of::<sys::ktr_header>());
const_assert_eq!(VERSION1 as u32, sys::KTR_VERSION1);
const_assert_eq!(MAXCOMLEN as u32, sys::MAXCOMLEN);
const_assert_eq!(MAXPATHLEN as u32, sys::MAXPATHLEN);
const_assert_eq!(CAP_FAIL_LEN, size_of::<sys::ktr_cap_fail>());

/// Asserts that a payload without data is as long as its structure.
macro_rules! payload {
    ($payload:expr => $type:ident) => {
        const_assert_eq!($payload.len(), size_of::<sys::$type>());
    };
}

payload!(Payload::Sysret(Sysret { code: 0, error: 0, retval: 0 }) => ktr_sysret);
payload!(Payload::Genio(Genio { fd: 0, rw: 0, data: &[] }) => ktr_genio);
payload!(Payload::Psig(Psig { signo: 0, action: 0, code: 0, mask: [0; 4] }) => ktr_psig);
payload!(Payload::Csw(Csw { out: false, user: false, wmesg: &[] }) => ktr_csw);
payload!(Payload::ProcCtor(ProcCtor { sv_flags: 0 }) => ktr_proc_ctor);
payload!(Payload::Fault(Fault { vaddr: 0, fault_type: 0 }) => ktr_fault);
payload!(Payload::FaultEnd(FaultEnd { result: 0 }) => ktr_faultend);
