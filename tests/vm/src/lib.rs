//! Runs guest tests on a FreeBSD disk image in QEMU.
//!
//! It boots the image, hands the module and the tests to the guest, runs the tests over the serial
//! console, and collects their results.
//!
//! The modules, from the outside in: [`cli`] reads the command line. Its commands are
//! [`check`], [`exec`], [`shell`] and [`fetch`]. A [`guest::Guest`] is a booted system that takes
//! requests. It runs on a [`machine::Machine`], the QEMU process with its disks and its
//! [`console::Console`]. `guest/run.sh` is the other end of the console, and its messages arrive as
//! [`marker::Marker`]s. `tests/bench` makes tables of what tests have measured.

#![forbid(unsafe_code)]

pub mod accel;
pub mod check;
pub mod cli;
pub mod complaint;
pub mod console;
pub mod crash;
pub mod exec;
pub mod fetch;
pub mod guest;
pub mod image;
pub mod machine;
pub mod marker;
pub mod may_skip;
pub mod payload;
pub mod plan;
pub mod report;
pub mod results;
pub mod shell;
pub mod sparse;
pub mod suite;
