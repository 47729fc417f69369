//! The kernel module `ktrace_rs.ko`, which replaces the kernel's ktrace backend while the system
//! runs.
//!
//! A record takes this way from trace point to disk: [`points`] (the event, in the kernel's own
//! words), `ktrace_engine::ProcTrace` (queue and commit), [`platform`] (the vnode write).
//!
//! - [`module`] loads and unloads. It uses [`takeover`], which redirects the functions of
//!   `kern_ktrace.c` to the entries of [`entry`], and [`sysctls`].
//! - [`points`], [`life`] and [`syscalls`] are the new functions: trace points, process life cycle,
//!   ktrace(2) and utrace(2).
//! - [`helper`] writes for processes that stay in the kernel.
//! - [`listing`] prints the traced processes and their files.
//! - [`release`] holds the differences between FreeBSD 14 and FreeBSD 15, [`machine`] those between
//!   amd64 and arm64.
//! - [`platform`] implements the engine's requirements with [`kernel`], the one layer that calls
//!   the kernel.
//!
//! `docs/locking.md` lists all locks, their order, and the data that each of them protects.
#![no_std]

extern crate alloc;

mod entry;
mod helper;
mod kernel;
mod life;
mod listing;
mod machine;
mod module;
#[cfg(feature = "test-park")]
mod park;
mod platform;
mod points;
mod release;
mod settings;
mod syscalls;
mod sysctls;
mod takeover;
