//! Headers written by old and new kernels (`struct ktr_header_v0`, `struct ktr_header`).

use crate::DecodeError;
use crate::bytes::Take;
use crate::header::{HEADER_LEN, KTR_DROP, KTR_TYPE, KTR_VERSIONED, MAXCOMLEN, Timespec, VERSION1};

/// Size of `struct ktr_header_v0` in bytes.
pub const HEADER_V0_LEN: usize = 56;

/// Layout of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `KTR_VERSION0`, of kernels before FreeBSD 14: microseconds, and no CPU.
    V0,
    /// `KTR_VERSION1`: nanoseconds.
    V1,
}

impl Version {
    /// Returns the size of a header in bytes.
    pub const fn header_len(self) -> usize {
        match self {
            Version::V0 => HEADER_V0_LEN,
            Version::V1 => HEADER_LEN,
        }
    }

    /// Returns the version of the header at the front of `bytes`.
    fn decode(bytes: &[u8]) -> Result<Version, DecodeError> {
        let mut bytes = Take::new(bytes);
        bytes.bytes(4).ok_or(DecodeError::Truncated)?;
        let ktr_type = bytes.u16().ok_or(DecodeError::Truncated)?;
        let ktr_version = bytes.i16().ok_or(DecodeError::Truncated)?;
        match (ktr_type & KTR_VERSIONED != 0, ktr_version) {
            // A header of version 0 has padding in place of `ktr_version`.
            (false, _) => Ok(Version::V0),
            (true, VERSION1) => Ok(Version::V1),
            (true, _) => Err(DecodeError::Header),
        }
    }
}

/// The fields of a header of either version. Their values are not checked, and may be invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyHeader {
    /// Layout of the header.
    pub version: Version,
    /// Length of the payload in bytes.
    pub len: i32,
    /// Number of the record's type, without flags.
    pub ktr_type: u16,
    /// At least one record of the process was dropped before this one.
    pub drop: bool,
    /// Process ID.
    pub pid: i32,
    /// Name of the thread, ended by a NUL.
    pub comm: [u8; MAXCOMLEN + 1],
    /// Time at which the record was made. Saturates if microseconds do not fit as nanoseconds.
    pub time: Timespec,
    /// Thread ID.
    pub tid: i64,
    /// CPU that the record was made on; `None` for a header of `KTR_VERSION0`.
    pub cpu: Option<i32>,
}

impl AnyHeader {
    /// Reads the header at the front of `bytes`. Checks its version, but not its other fields.
    pub fn decode(bytes: &[u8]) -> Result<AnyHeader, DecodeError> {
        AnyHeader::fields(Version::decode(bytes)?, bytes).ok_or(DecodeError::Truncated)
    }

    fn fields(version: Version, bytes: &[u8]) -> Option<AnyHeader> {
        let mut bytes = Take::new(bytes);
        let (len, ktr_type) = (bytes.i32()?, bytes.u16()?);
        bytes.bytes(2)?;
        let (pid, comm) = (bytes.i32()?, bytes.array()?);
        let (sec, fraction) = (bytes.u64()?.cast_signed(), bytes.u64()?.cast_signed());
        let tid = bytes.u64()?.cast_signed();
        let (nsec, cpu) = match version {
            Version::V0 => (fraction.saturating_mul(1000), None),
            Version::V1 => {
                let cpu = bytes.i32()?;
                bytes.bytes(4)?;
                (fraction, Some(cpu))
            }
        };
        Some(AnyHeader {
            version,
            len,
            ktr_type: ktr_type & !KTR_TYPE,
            drop: ktr_type & KTR_DROP != 0,
            pid,
            comm,
            time: Timespec { sec, nsec },
            tid,
            cpu,
        })
    }
}
