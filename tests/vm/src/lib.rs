//! Boots a FreeBSD disk image in QEMU, hands the module and the guest tests in,
//! runs the tests over the serial console and brings their results out.
//!
//! From the outside in: [`cli`] reads the command line, [`check`] (with [`bench`] for what
//! the benches leave), [`exec`], [`shell`] and [`fetch`] are its commands; a [`guest::Guest`] is a booted system
//! that takes requests, on a [`machine::Machine`], the QEMU process with its disks
//! and its [`console::Console`]. The other end of the console is `guest/run.sh`, and
//! what it says comes as [`marker::Marker`]s.

#![forbid(unsafe_code)]

pub mod bench;
pub mod check;
pub mod cli;
pub mod complaint;
pub mod console;
pub mod crash;
pub mod exec;
pub mod fetch;
pub mod figures;
pub mod guest;
pub mod image;
pub mod machine;
pub mod marker;
pub mod payload;
pub mod plan;
pub mod plot;
pub mod report;
pub mod results;
pub mod samples;
pub mod shell;
pub mod sparse;
pub mod suite;
pub mod tables;
