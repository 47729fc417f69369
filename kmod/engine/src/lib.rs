//! The engine: what happens to a trace record between the trace point and the disk.
//!
//! - A [`TraceFile`] is what one ktrace(2) call opened.
//! - A [`ProcTrace`] belongs to one traced process. It has a bounded queue for the
//!   records that are made where sleeping is not allowed, and a commit lock under
//!   which the queue and, after it, a synchronous record are written.
//!
//! No two processes share a queue or a lock. Whoever makes a record writes it; another thread
//! may do so for a process that is [overdue](ProcTrace::is_overdue).
//!
//! The engine knows no kernel: it is generic over [`Platform`], which the module
//! implements with mutexes, vnodes and the clock of FreeBSD, and the host simulation
//! with threads and memory. Nothing in it is `unsafe`, and nothing in it panics.
//!
//! # Locks
//!
//! | lock | kind | guards | order |
//! | --- | --- | --- | --- |
//! | commit (`c`) | may sleep | the order of writes of one process | first; the file is written under it |
//! | queue (`q`) | never sleeps | queue, spare memory, trace file of one process | last; nothing is locked or allocated under it |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod file;
mod platform;
mod process;
mod queue;
mod segment;
mod stats;

pub use file::{TraceFile, WriteFailed};
pub use platform::{Counter, Errno, Mutex, Platform, SleepLock, Storage};
pub use process::{Origin, Pending, ProcTrace, Synchronous};
pub use segment::SEGMENT_LEN;
pub use stats::{
    Engine, LATENCY_DEFAULT, LATENCY_MAX, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX, QUEUE_LIMIT_MIN, Stats,
};
