//! Assertions that bindgen, the C compiler and `kmod/layout/table.txt` agree on the layout of
//! kernel structures, and that the record format agrees with these structures.

use kernel_sys as sys;
use ktrace_format::{
    CAP_FAIL_LEN, Csw, Fault, FaultEnd, Genio, HEADER_LEN, MAXCOMLEN, MAXPATHLEN, Payload, ProcCtor, Psig,
    Sysret, VERSION1,
};
use static_assertions::const_assert_eq;

// Written by build.rs from kmod/layout/table.txt.
include!(concat!(env!("OUT_DIR"), "/layout.rs"));

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
