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

mod explore;
mod flaw;
mod history;
mod process;
mod scenario;
mod seen;
mod tasks;
mod world;

pub use explore::{exhaustive, explore, failure, failure_of};
pub use flaw::Flaw;
pub use scenario::{Action, ProcessPlan, Scenario, Step};
pub use tasks::{Disk, Tasks};
pub use world::World;

pub(crate) use tasks::{Engine, Failures, File, OpenFile, Trace};
