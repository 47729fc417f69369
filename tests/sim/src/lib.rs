//! A host simulation of the kernel around the engine. Processes are threads, and files can be slow,
//! full or dead.
//!
//! - [`Host`] is the engine's platform here. Its locks make the checks of a debug kernel
//!   ([`context`]). Its files have faults on request ([`Disk`]), and its clock can be made
//!   deterministic ([`clock`]). Another thread can run between any two steps of the engine
//!   ([`interleave`]).
//! - [`System`], [`Process`] and [`Thread`] use the engine as the module does: trace points, fork,
//!   exec, exit, return to user mode, ktrace(2).
//! - [`kdump`] prints a trace file, and [`demo`] makes one.
//!
//! A check that fails panics, as a kernel with INVARIANTS and WITNESS does.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod context;
mod counter;
pub mod demo;
mod disk;
pub mod interleave;
pub mod kdump;
mod lock;
pub mod memory;
mod platform;
mod process;
mod system;
mod thread;

pub use counter::HostCounter;
pub use disk::{Disk, EFBIG, EINTR, EIO, ENOSPC, Faults, OpenFile, with_signal};
pub use lock::{CommitLock, HostMutex};
pub use platform::{Engine, Failures, File, Host, MaySleep, Trace, set_cpu};
pub use process::Process;
pub use system::{Inherit, System};
pub use thread::Thread;
