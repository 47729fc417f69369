//! The engine: a trace record's way from the trace point to the disk.
//!
//! - A [`TraceFile`] is a file that one ktrace(2) call opened. Its stream gathers records in the
//!   order of their times. Many records are written with one write.
//! - A [`ProcTrace`] belongs to one traced process. Its bounded queue holds records that are made
//!   where sleeping is not allowed while the stream has no room.
//!
//! No two files share a lock. Each thread writes its own records, when the [`Policy`] asks for it.
//! Another thread writes for a process that is overdue ([`Engine::help_overdue`]), or whose write was
//! interrupted by a signal ([`Engine::help_left`]).
//!
//! The engine does not depend on a kernel: it is generic over [`Platform`]. The module implements
//! that trait with mutexes, vnodes and the clock of FreeBSD, tests with doubles of them
//! (`tests/doubles`). The engine has no `unsafe` code and does not panic.
//!
//! # Locks
//!
//! The locks in acquisition order; those after the stream lock are never held together:
//!
//! | lock | kind | protects |
//! | --- | --- | --- |
//! | commit | may sleep | the order of writes to one file, its spare memory |
//! | queue | never sleeps | the queue, spare memory and trace file of one process |
//! | stream | never sleeps | the stream of one file |
//! | pool | never sleeps | the segments that one user's processes share |
//! | left | never sleeps | the list of files left to the helper |
//! | open | never sleeps | the list of open files |
//! | waiting | never sleeps | the list of traces whose records wait |
//! | buffered | never sleeps | the list of files that have large buffers |
//! | pools | never sleeps | the list of pools |
//!
//! The `vn_start_write()` reference is taken before the commit lock. The file is written under the
//! commit lock. Nothing is allocated under a queue lock. Nothing is locked or allocated under a
//! stream lock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod budget;
mod file;
mod help;
mod list;
mod platform;
mod pool;
mod process;
mod queue;
mod settings;
mod stats;
mod stream;

pub use budget::User;
pub use file::{Failures, FileProgress, TraceFile, WriteFailed};
pub use platform::{Counter, Errno, Event, Mutex, Platform, SleepLock, Storage};
pub use pool::SEGMENT_LEN;
pub use process::{Origin, Pending, ProcProgress, ProcTrace, Synchronous};
pub use queue::Abandoned;
pub use settings::{
    BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, BATCH_BYTES_MIN, BATCH_RECORDS_DEFAULT, BATCH_RECORDS_MAX,
    LATENCY_DEFAULT, LATENCY_MAX, MEMORY_LIMIT_DEFAULT, Policy, QUEUE_LIMIT_DEFAULT, QUEUE_LIMIT_MAX,
    QUEUE_LIMIT_MIN, Settings, USER_MEMORY_LIMIT_DEFAULT,
};
pub use stats::{Engine, Stats};
