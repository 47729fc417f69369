//! `ktrace_rs.ko`: replaces the kernel's ktrace backend while the system runs.
//!
//! The way of a record, from trace point to disk: [`points`] (what happened, in the
//! kernel's own words), `ktrace_engine::ProcTrace` (queue and commit), [`platform`] (the
//! vnode write).
//!
//! - [`module`] loads and unloads, with [`takeover`], which redirects the functions of
//!   `kern_ktrace.c` to the entries of [`entry`], and [`sysctls`].
//! - [`points`], [`life`] and [`syscalls`] are the new functions: trace points, process
//!   life cycle, ktrace(2) and utrace(2).
//! - [`helper`] writes for processes that stay in the kernel.
//! - [`listing`] says what is traced now.
//! - [`release`] is what FreeBSD 14 and FreeBSD 15 differ in, [`machine`] what amd64 and arm64 do.
//! - [`platform`] is what the engine asks for, made of [`kernel`], the one layer that
//!   talks to the kernel.
//!
//! # Locks
//!
//! | lock | guards | order |
//! | --- | --- | --- |
//! | `allproc_lock`, `proctree_lock` | the lists of processes | first; held shared, never over a write |
//! | process lock | `p_traceflag` (to and from zero), `p_ktrioparms` | never over a write |
//! | commit lock of a process | see `ktrace_engine` | before vnode locks |
//! | queue lock of a process | see `ktrace_engine` | last, but for the lock of a credential's count |
//! | worker's lock | the sleep of the [`helper`] | last |
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
