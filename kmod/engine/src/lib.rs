//! The engine: what happens to a trace record between the trace point and the disk.
//!
//! - A [`TraceFile`] is what one ktrace(2) call opened. It has a stream, in which its records are
//!   gathered in the order of their times, and from which they are written, many with one write.
//! - A [`ProcTrace`] belongs to one traced process. It has a bounded queue for the records that
//!   are made where sleeping is not allowed while the stream has no room.
//!
//! No two files share a lock. Whoever makes a record writes it, when the [`Policy`] wants it to
//! be written; another thread may do so for a process that is [overdue](ProcTrace::is_overdue), or whose write a signal
//! has interrupted ([`Engine::help_left`]).
//!
//! The engine knows no kernel: it is generic over [`Platform`], which the module
//! implements with mutexes, vnodes and the clock of FreeBSD, and the host simulation
//! with threads and memory. Nothing in it is `unsafe`, and nothing in it panics.
//!
//! # Locks
//!
//! | lock | kind | guards | order |
//! | --- | --- | --- | --- |
//! | commit | may sleep | the order of writes to one file, its spare memory | first, with leave to write; the file is written under it |
//! | queue | never sleeps | queue, spare memory, trace file of one process | second; nothing is allocated under it |
//! | stream | never sleeps | stream of one file | last; nothing is locked or allocated under it |
//! | left | never sleeps | the files that are left to the helper | last, as the stream lock |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod file;
mod left;
mod platform;
mod process;
mod queue;
mod segment;
mod settings;
mod stats;
mod stream;

pub use file::{Failures, FileProgress, TraceFile, WriteFailed};
pub use platform::{Counter, Errno, Event, Mutex, Platform, SleepLock, Storage};
pub use process::{Origin, Pending, ProcProgress, ProcTrace, Synchronous};
pub use queue::Abandoned;
pub use segment::SEGMENT_LEN;
pub use settings::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, BATCH_BYTES_MIN, BATCH_RECORDS_DEFAULT, BATCH_RECORDS_MAX,
    LATENCY_DEFAULT, LATENCY_MAX, Policy, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN, Settings,
};
pub use stats::{Engine, Stats};
