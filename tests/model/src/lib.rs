//! The engine under a scheduler that tries its interleavings.
//!
//! The threads of a [`Scenario`] are tasks of [shuttle](https://docs.rs/shuttle). One runs at a
//! time. Before each lock, each write and each counter, the scheduler selects the next task. A
//! schedule is therefore a list of numbers, and can be run again. After each schedule all promises
//! are checked (see [`World`]). A deadlock ends a schedule as well.
//!
//! No task switch happens under a stream mutex: other tasks cannot see the engine's work there.
//! Under a queue mutex, other tasks run before the stream mutex is taken. The exclusion by a lock
//! follows from its `&mut`, so no platform in safe Rust can get that wrong. An engine that takes
//! too few locks, or releases them too soon, is detected by `scripts/mutants.sh`.
#![forbid(unsafe_code)]

mod clock;
pub mod context;
mod counter;
mod disk;
mod explore;
mod flaw;
mod history;
mod lock;
mod platform;
mod point;
mod process;
mod scenario;
mod task;
mod world;

pub use counter::ModelCounter;
pub use disk::{Disk, EIO, ENOSPC, Faults, Leave, OpenFile};
pub use explore::{exhaustive, explore, failure, failure_of};
pub use flaw::Flaw;
pub use lock::{CommitLock, ModelMutex};
pub use platform::{Engine, Failures, File, MaySleep, Model, Trace};
pub use scenario::{Action, ProcessPlan, Scenario, Step};
pub use world::World;
