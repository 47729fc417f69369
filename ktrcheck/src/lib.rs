//! Says whether a trace file is whole.
//!
//! From the bytes up: a [`Source`] is read through a window of a fixed size; a head is a
//! header that a kernel can have written; the reader takes record after record, and finds the
//! next one behind bytes that are none; [`Check`] follows what processes and threads did, and a
//! [`Finding`] is what it does not like. [`cli`] is the program.
//!
//! Memory does not grow with the file: one buffer, a count for each process, of which there are no
//! more than process ids, and a little for each of up to [`MAX_THREADS`] threads: less than 100 megabytes in all.
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
