//! The engine under a scheduler that tries its interleavings.
//!
//! The threads of a [`Scenario`] are tasks of [shuttle](https://docs.rs/shuttle): one runs at a time, and
//! before each lock, each write and each counter the scheduler picks the one that goes on. So a
//! schedule is a list of numbers, and can be run again. After each one everything that was
//! promised is checked ([`World`] says what), and a deadlock ends it as well.
//!
//! A stream mutex is never switched under: what the engine does there, others cannot see; under a
//! queue mutex others run before the stream mutex is taken. That a lock excludes is what its `&mut`
//! says, so no platform in safe Rust can get that wrong; what an engine does that takes too few
//! locks, or lets them go too soon, is for `scripts/mutants.sh` to show.
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
