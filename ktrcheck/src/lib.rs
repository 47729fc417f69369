//! Checks whether a trace file is whole.
//!
//! The modules, from the bytes up: a [`Source`] is read through a window of a fixed size. A head is
//! a header that a kernel can have written. The reader returns one record after another, and finds
//! the next record after bytes that are not one. [`Check`] follows processes and threads, and
//! reports each fault as a [`Finding`]. [`cli`] is the program.
//!
//! Memory does not grow with the file. It holds one buffer, a count for each process, and a little
//! state for each of up to [`MAX_THREADS`] threads. The number of processes is limited by the
//! number of process ids. The total is below 100 megabytes.
#![forbid(unsafe_code)]

mod byte_order;
mod check;
pub mod cli;
mod finding;
mod head;
mod reader;
mod report;
mod source;
mod threads;
mod window;

pub use check::{Check, Order, Process, Summary};
pub use finding::{Class, Finding, What};
pub use head::NotAHeader;
pub use source::{Source, TraceFile};
pub use threads::MAX_THREADS;
