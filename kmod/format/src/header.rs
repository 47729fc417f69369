//! The header of a record (`struct ktr_header` of `sys/ktrace.h`).

use crate::bytes::Put;
use crate::{AnyHeader, Kind};

/// Size of the header in bytes.
pub const HEADER_LEN: usize = 64;

/// Longest command name, without its NUL (`sys/param.h`).
pub const MAXCOMLEN: usize = 19;

/// `KTR_VERSION1`: the header with the CPU and a `struct timespec`.
pub const VERSION1: i16 = 1;

/// `KTR_DROP`: at least one record of the process was dropped before this one.
pub(crate) const KTR_DROP: u16 = 0x8000;
/// `KTR_VERSIONED`: the header has a version number.
pub(crate) const KTR_VERSIONED: u16 = 0x4000;
/// `KTR_TYPE`: the bits of `ktr_type` that are flags, not part of the type's number.
pub const KTR_TYPE: u16 = KTR_DROP | KTR_VERSIONED;

/// A point in time since the epoch (`struct timespec`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, less than 1,000,000,000.
    pub nsec: i64,
}

impl Timespec {
    /// Returns the nanoseconds from `earlier` to `self`; zero if `earlier` is later. Saturates.
    pub fn since(self, earlier: Timespec) -> u64 {
        let seconds = self.sec.saturating_sub(earlier.sec).saturating_mul(1_000_000_000);
        u64::try_from(seconds.saturating_add(self.nsec.saturating_sub(earlier.nsec))).unwrap_or(0)
    }
}

/// The header before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload in bytes.
    pub len: u32,
    /// Type of the record.
    pub kind: Kind,
    /// At least one record of the process was dropped before this one.
    pub drop: bool,
    /// Process ID.
    pub pid: i32,
    /// Name of the thread, ended by a NUL.
    pub comm: [u8; MAXCOMLEN + 1],
    /// Time at which the record was made.
    pub time: Timespec,
    /// Thread ID.
    pub tid: i64,
    /// CPU that the record was made on.
    pub cpu: i32,
}

impl Header {
    /// Writes the header's 64 bytes. Returns `None` if the length does not fit into `ktr_len`.
    #[inline(always)]
    pub(crate) fn encode(&self, out: &mut [u8; HEADER_LEN]) -> Option<()> {
        let drop = if self.drop { KTR_DROP } else { 0 };
        let ktr_type = self.kind as u16 | KTR_VERSIONED | drop;
        let mut out = Put::new(out);
        out.i32(i32::try_from(self.len).ok()?)?;
        out.bytes(&ktr_type.to_ne_bytes())?;
        out.i16(VERSION1)?;
        out.i32(self.pid)?;
        out.field(&self.comm, MAXCOMLEN + 1, 1)?;
        out.u64(self.time.sec.cast_unsigned())?;
        out.u64(self.time.nsec.cast_unsigned())?;
        out.u64(self.tid.cast_unsigned())?;
        out.i32(self.cpu)?;
        out.zeros(4)
    }

    /// Reads a header of `KTR_VERSION1`. Returns `None` if the bytes are not such a header.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
        let AnyHeader { version: _, len, ktr_type, drop, pid, comm, time, tid, cpu } =
            AnyHeader::decode(bytes).ok()?;
        Some(Header {
            len: u32::try_from(len).ok()?,
            kind: Kind::from_number(ktr_type)?,
            drop,
            pid,
            comm,
            time,
            tid,
            // A header of KTR_VERSION0 has no CPU.
            cpu: cpu?,
        })
    }
}
