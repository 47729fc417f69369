//! Record headers with only values that a kernel can write.

use std::fmt::{self, Display, Formatter};
use std::ops::{Range, RangeInclusive};

use ktrace_format::{AnyHeader, CAP_FAIL_LEN, DecodeError, EXTERR_LEN, KTR_TYPE, Kind, MAXPATHLEN, Version};

/// Record types that have a bit in `KTRFAC_MASK`. Later releases may use more of them.
const TYPES: Range<u16> = 1..24;

/// `PID_MAX` (`sys/proc.h`).
const PID_MAX: i32 = 99_999;

/// `MAXCPU` (`machine/param.h`).
const MAXCPU: i32 = 1024;

/// `KTR_USER_MAXLEN`.
const KTR_USER_MAXLEN: u32 = 2048;

/// Size of `struct ktr_csw_old`, which has no wait message.
const CSW_OLD_LEN: u32 = 8;

/// Size of `struct ktr_cap_fail` up to FreeBSD 14.1, where it was two sets of rights.
const CAP_FAIL_OLD_LEN: u32 = 40;

/// Maximum length of a sysctl(3) name in a `KTR_SYSCTL`, including its NUL.
const SYSCTL_LEN: u32 = 128;

/// Reason why bytes are not the header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAHeader {
    /// The trace ends inside the header.
    Short,
    /// `ktr_version` is not a known version.
    Version,
    /// `ktr_type` is not a type that can be traced.
    Type,
    /// `ktr_len` is not a length that the type can have.
    Length,
    /// `ktr_pid` is not a process id.
    Pid,
    /// `ktr_comm` has no terminating NUL.
    Comm,
    /// `ktr_time` is not a valid time.
    Time,
    /// `ktr_tid` is not a thread id.
    Tid,
    /// `ktr_cpu` is not a CPU number.
    Cpu,
}

impl Display for NotAHeader {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAHeader::Short => "cut off",
            NotAHeader::Version => "ktr_version",
            NotAHeader::Type => "ktr_type",
            NotAHeader::Length => "ktr_len",
            NotAHeader::Pid => "ktr_pid",
            NotAHeader::Comm => "ktr_comm",
            NotAHeader::Time => "ktr_time",
            NotAHeader::Tid => "ktr_tid",
            NotAHeader::Cpu => "ktr_cpu",
        })
    }
}

/// A header in which every field has a value that a kernel can write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The decoded header.
    pub(crate) header: AnyHeader,
    /// Type of the record, or `None` if this program does not know it.
    pub(crate) kind: Option<Kind>,
    /// Length of the payload in bytes.
    pub(crate) len: u32,
}

impl Head {
    /// Reads the header at the front of `bytes`.
    ///
    /// `bytes` has at least [`HEADER_LEN`](ktrace_format::HEADER_LEN) bytes unless the trace ends.
    pub(crate) fn read(bytes: &[u8]) -> Result<Head, NotAHeader> {
        let header = AnyHeader::decode(bytes).map_err(|error| match error {
            DecodeError::Truncated => NotAHeader::Short,
            DecodeError::Header | DecodeError::Payload(_) => NotAHeader::Version,
        })?;
        if !TYPES.contains(&header.ktr_type) {
            return Err(NotAHeader::Type);
        }
        let kind = Kind::from_number(header.ktr_type);
        let len = u32::try_from(header.len).map_err(|_| NotAHeader::Length)?;
        if kind.is_some_and(|kind| !fits(kind, len)) {
            return Err(NotAHeader::Length);
        }
        if !(1..=PID_MAX).contains(&header.pid) {
            return Err(NotAHeader::Pid);
        }
        if !header.comm.contains(&0) {
            return Err(NotAHeader::Comm);
        }
        if header.time.sec < 0 || !(0..1_000_000_000).contains(&header.time.nsec) {
            return Err(NotAHeader::Time);
        }
        if !(1..=i64::from(i32::MAX)).contains(&header.tid) {
            return Err(NotAHeader::Tid);
        }
        if header.cpu.is_some_and(|cpu| !(0..MAXCPU).contains(&cpu)) {
            return Err(NotAHeader::Cpu);
        }
        Ok(Head { header, kind, len })
    }

    /// Returns whether `bytes` could begin with a header, by a quick test of type and process id.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        let [_, _, _, _, t0, t1, _, _, p0, p1, p2, p3, ..] = bytes else {
            return false;
        };
        let ktr_type = u16::from_ne_bytes([*t0, *t1]) & !KTR_TYPE;
        let pid = i32::from_ne_bytes([*p0, *p1, *p2, *p3]);
        TYPES.contains(&ktr_type) && (1..=PID_MAX).contains(&pid)
    }

    /// Returns the length of the header in bytes.
    pub(crate) fn header_len(&self) -> u64 {
        header_len(self.header.version)
    }

    /// Returns the length of the record in bytes.
    pub(crate) fn record_len(&self) -> u64 {
        self.header_len().saturating_add(u64::from(self.len))
    }

    /// Returns whether the payload has an older layout, in which every value is valid.
    pub(crate) fn is_of_old_layout(&self) -> bool {
        matches!(
            (self.kind, self.len),
            (Some(Kind::Csw), CSW_OLD_LEN) | (Some(Kind::CapFail), CAP_FAIL_OLD_LEN)
        )
    }

    /// Returns whether all records of this type have this length, so that the length is certain.
    pub(crate) fn is_of_fixed_len(&self) -> bool {
        self.kind.is_some_and(|kind| {
            let lengths = lengths(kind);
            lengths.start() == lengths.end()
        })
    }
}

/// Returns [`Version::header_len`] as a difference of two offsets.
pub(crate) fn header_len(version: Version) -> u64 {
    version.header_len() as u64
}

/// Returns whether a payload of this type can have this length.
fn fits(kind: Kind, len: u32) -> bool {
    match kind {
        Kind::Syscall => lengths(kind).contains(&len) && len.is_multiple_of(8),
        Kind::Csw => lengths(kind).contains(&len) || len == CSW_OLD_LEN,
        Kind::CapFail => lengths(kind).contains(&len) || len == CAP_FAIL_OLD_LEN,
        _ => lengths(kind).contains(&len),
    }
}

/// Returns the possible payload lengths of this type in bytes, as kernels write them now.
fn lengths(kind: Kind) -> RangeInclusive<u32> {
    match kind {
        // Up to eight arguments.
        Kind::Syscall => 8..=8 + 8 * 8,
        Kind::Sysret | Kind::Csw | Kind::Fault => 16..=16,
        // A path without its NUL.
        Kind::Namei => 0..=MAXPATHLEN as u32 - 1,
        Kind::Genio => 8..=u32::MAX,
        Kind::Psig => 40..=40,
        Kind::User => 0..=KTR_USER_MAXLEN,
        // An empty name.
        Kind::Struct => 1..=u32::MAX,
        Kind::StructArray => 8 + 1..=u32::MAX,
        Kind::Sysctl => 1..=SYSCTL_LEN,
        Kind::ProcCtor | Kind::FaultEnd => 4..=4,
        Kind::ProcDtor => 0..=0,
        Kind::CapFail => CAP_FAIL_LEN as u32..=CAP_FAIL_LEN as u32,
        Kind::Args | Kind::Envs => 0..=u32::MAX,
        Kind::Exterr => EXTERR_LEN as u32..=EXTERR_LEN as u32,
    }
}
