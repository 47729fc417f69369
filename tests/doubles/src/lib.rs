//! Doubles of the kernel for tests of the engine.
//!
//! [`Double`] is the engine's platform there. Its locks make the checks of a debug kernel
//! ([`thread`]). Its files have faults on request ([`Disk`]), its clock advances with each reading
//! ([`clock`]), and its allocator finds uses of memory where sleeping is not allowed ([`memory`]).
//!
//! The [`Threads`] decide how threads wait for each other and where others run.
//! `tests/engine` uses those of the host, `tests/schedules` those of a scheduler.
//!
//! A check that fails panics, as a kernel with INVARIANTS and WITNESS does.
#![deny(unsafe_code)]

pub mod clock;
mod counter;
mod disk;
mod lock;
pub mod memory;
pub mod moment;
mod platform;
pub mod thread;

pub use counter::DoubleCounter;
pub use disk::{Disk, EFBIG, EINTR, EIO, ENOSPC, Faults, Leave, Lie, OpenFile, decode, with_signal};
pub use lock::{CommitLock, DoubleMutex};
pub use platform::{Double, Engine, Failures, File, MaySleep, Note, Point, Threads, Trace, Waiters};
