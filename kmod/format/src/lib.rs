//! The records of a trace file, as `sys/ktrace.h` has them and kdump(1) reads them.
//!
//! A file is a sequence of records; a record is a [`Header`] of 64 bytes and the
//! [`Payload`] that the header's type names. Everything is in the byte order of the
//! machine that wrote it, and padding is zero.
//!
//! The crate knows no kernel: the same code encodes in the module and decodes in the
//! tests on a host.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod header;
mod kind;
mod payload;
mod record;

pub use header::{HEADER_LEN, Header, MAXCOMLEN, Timespec, VERSION1};
pub use kind::{Kind, PerKind};
pub use payload::{
    Args, CAP_FAIL_LEN, CapData, CapFail, Csw, Fault, FaultEnd, Genio, MAXPATHLEN, Payload, ProcCtor, Psig,
    Struct, StructArray, Syscall, Sysret, WMESGLEN,
};
pub use record::{DecodeError, EncodeError, Record, Records, encode_header, split_record};
