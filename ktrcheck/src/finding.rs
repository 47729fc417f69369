//! Faults that a check can find in a trace.

use std::fmt::{self, Display, Formatter};

use ktrace_format::Kind;

use crate::NotAHeader;

/// A fault in a trace, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Offset in bytes at which the record begins or should begin.
    pub offset: u64,
    /// Process and thread of the record, if there is a record.
    pub thread: Option<(i32, i64)>,
    /// The fault.
    pub what: What,
}

/// Fault of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The trace is empty.
    Empty,
    /// The trace is from a machine of another byte order and was not read.
    OtherByteOrder,
    /// Bytes that are not a record.
    NotARecord {
        /// Offset of the next record, or `None` if no record follows.
        next: Option<u64>,
        /// Reason why the bytes are not a header.
        why: NotAHeader,
    },
    /// The trace ends inside this record.
    CutOff,
    /// The payload does not fit the record's type.
    Payload(Kind),
    /// The record is of an unknown type, given by its number.
    Type(u16),
    /// The record is older than the previous record of the trace.
    OlderInFile,
    /// The record is older than the previous record of its thread.
    OlderInThread,
    /// A CALL of a thread whose previous CALL has no RET.
    CallInCall {
        /// The system call that begins.
        code: i16,
        /// The system call without a RET.
        open: i16,
    },
    /// A RET of this system call without a CALL before it.
    RetWithoutCall(i16),
    /// A RET of a system call other than that of the CALL before it.
    RetOfOther {
        /// The system call that ends.
        code: i16,
        /// The system call that began.
        open: i16,
    },
    /// Records of the process were dropped before this one (`KTR_DROP`).
    Drop,
}

/// Class of findings that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Places at which the trace cannot be read.
    Damaged,
    /// Records of an unknown type.
    Type,
    /// Records older than the previous record of the trace.
    OlderInFile,
    /// Records older than the previous record of their thread.
    OlderInThread,
    /// CALL without RET, or RET without CALL.
    Call,
    /// Records marked `KTR_DROP`.
    Drop,
}

impl What {
    /// Returns the class that this finding is counted in.
    pub fn class(&self) -> Class {
        match self {
            What::Empty
            | What::OtherByteOrder
            | What::NotARecord { .. }
            | What::CutOff
            | What::Payload(_) => Class::Damaged,
            What::Type(_) => Class::Type,
            What::OlderInFile => Class::OlderInFile,
            What::OlderInThread => Class::OlderInThread,
            What::CallInCall { .. } | What::RetWithoutCall(_) | What::RetOfOther { .. } => Class::Call,
            What::Drop => Class::Drop,
        }
    }
}

impl Display for Class {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Damaged => "damaged",
            Class::Type => "of unknown type",
            Class::OlderInFile => "older than the record before",
            Class::OlderInThread => "older than the thread's record before",
            Class::Call => "CALL or RET without the other",
            Class::Drop => "marked KTR_DROP",
        })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: ", self.offset)?;
        if let Some((pid, tid)) = self.thread {
            write!(f, "pid {pid} tid {tid}: ")?;
        }
        match self.what {
            What::Empty => write!(f, "the file is empty"),
            What::OtherByteOrder => write!(f, "the file is of another byte order, and was not read"),
            What::NotARecord { next, why } => {
                write!(f, "this is not the header of a trace record ({why}); ")?;
                match next {
                    Some(next) => {
                        write!(f, "{} bytes on, at byte {next}, is one", next.saturating_sub(self.offset))
                    }
                    None => write!(f, "there is none behind it"),
                }
            }
            What::CutOff => write!(f, "the file ends inside this record"),
            What::Payload(kind) => {
                write!(f, "this record does not hold what its type, {}, asks for", kind.name())
            }
            What::Type(number) => write!(f, "record of the unknown type {number}"),
            What::OlderInFile => write!(f, "older than the record before it"),
            What::OlderInThread => write!(f, "older than the thread's record before it"),
            What::CallInCall { code, open } => write!(f, "CALL of {code}, but there is no RET of {open}"),
            What::RetWithoutCall(code) => write!(f, "RET of {code} without CALL"),
            What::RetOfOther { code, open } => write!(f, "RET of {code}, but the CALL is of {open}"),
            What::Drop => write!(f, "records of the process were dropped before this one"),
        }
    }
}
