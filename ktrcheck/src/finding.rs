//! What makes a trace not whole.

use std::fmt::{self, Display, Formatter};

use ktrace_format::Kind;

use crate::NotAHeader;

/// Something that a whole trace does not have, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where in the trace the record begins, or should begin, in bytes from the start.
    pub offset: u64,
    /// Process and thread of the record, if there is one.
    pub thread: Option<(i32, i64)>,
    /// What it is.
    pub what: What,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// There is nothing in the trace.
    Empty,
    /// The trace is from a machine of another byte order, and was not read.
    OtherByteOrder,
    /// Bytes that are no record.
    NotARecord {
        /// Where the next record begins; none if there is no other.
        next: Option<u64>,
        /// What is wrong at their front.
        why: NotAHeader,
    },
    /// The trace ends inside this record.
    CutOff,
    /// The record does not hold what its type asks for.
    Payload(Kind),
    /// The record is of a type that is not known, by its number.
    Type(u16),
    /// The record is older than the one before it in the trace.
    OlderInFile,
    /// The record is older than the one before it of its thread.
    OlderInThread,
    /// A CALL of a thread whose last one has no RET.
    CallInCall {
        /// The system call that begins.
        code: i16,
        /// The one that has no RET.
        open: i16,
    },
    /// A RET of this system call, and no CALL before it.
    RetWithoutCall(i16),
    /// A RET of another system call than the CALL before it.
    RetOfOther {
        /// The system call that ends.
        code: i16,
        /// The one that began.
        open: i16,
    },
    /// Records of the process were dropped before this one (`KTR_DROP`).
    Drop,
}

/// Findings that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The trace cannot be read here.
    Damaged,
    /// Records of a type that is not known.
    Type,
    /// Records that are older than the one before them in the trace.
    OlderInFile,
    /// Records that are older than the one before them of their thread.
    OlderInThread,
    /// CALL without RET, RET without CALL.
    Call,
    /// `KTR_DROP`.
    Drop,
}

impl What {
    /// What it is counted with.
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
