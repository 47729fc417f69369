//! The records of a trace file, as defined by `sys/ktrace.h` and read by kdump(1).
//!
//! A file is a sequence of records. A record is a [`Header`] of 64 bytes and the [`Payload`] that
//! the header's type names. Numbers are in the byte order of the machine that wrote them. Padding
//! is zero.
//!
//! All of this is `KTR_VERSION1`. [`AnyHeader`] covers the other headers that a file may hold:
//! headers of `KTR_VERSION0`, and headers whose values may be invalid.
//!
//! The crate does not depend on a kernel: the same code encodes in the module and decodes in the
//! tests on a host.
#![no_std]
#![forbid(unsafe_code)]

mod any_header;
mod bytes;
mod header;
mod kind;
mod payload;
mod record;

pub use any_header::{AnyHeader, HEADER_V0_LEN, Version};
pub use header::{HEADER_LEN, Header, KTR_TYPE, MAXCOMLEN, Timespec, VERSION1};
pub use kind::{Kind, PerKind};
pub use payload::{
    Args, CAP_FAIL_LEN, CapData, CapFail, Csw, EXTERR_LEN, EXTERR_MSG_LEN, Exterr, Fault, FaultEnd, Genio,
    MAXPATHLEN, Payload, ProcCtor, Psig, Struct, StructArray, Syscall, Sysret, WMESGLEN,
};
pub use record::{DecodeError, EncodeError, Record, Records, encode_header, split_record};
