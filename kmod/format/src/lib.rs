//! The records of a trace file, as `sys/ktrace.h` has them and kdump(1) reads them.
//!
//! A file is a sequence of records; a record is a [`Header`] of 64 bytes and the
//! [`Payload`] that the header's type names. Everything is in the byte order of the
//! machine that wrote it, and padding is zero.
//!
//! All of this is `KTR_VERSION1`. An [`AnyHeader`] is what else a file may hold: a header of
//! `KTR_VERSION0`, or one that is not known to make sense.
//!
//! The crate knows no kernel: the same code encodes in the module and decodes in the
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
