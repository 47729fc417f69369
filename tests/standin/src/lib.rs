//! A stand-in for the FreeBSD kernel, in a Linux process. It links `ktrace_rs.ko` as FreeBSD does,
//! loads it, drives it, checks it and unloads it. The file is byte for byte the one that users
//! load.
//!
//! - [`link`] is the linker. [`text`] holds the kernel functions that the module redirects,
//!   [`kvar`] the kernel's variables.
//! - [`sched`] has CPUs, fewer than there are [`thread`]s, and can stop them all at once. [`lock`],
//!   [`witness`], [`heap`], [`counter`], [`event`], [`sysctl`], [`proc`], [`cred`] and [`vnode`]
//!   are the interfaces that the module calls.
//! - [`user`] simulates processes, and calls the backend where the kernel does.
//! - [`ledger`] knows every record that was made, and searches the trace file for it. [`balance`]
//!   compares the resources taken and returned.
//! - [`loads`] drive all of that. [`flaw`] injects faults that the checks must find. [`budget`]
//!   counts the instructions for a record.

mod balance;
pub mod budget;
pub mod cli;
mod clock;
pub mod console;
mod counter;
mod cred;
mod event;
mod fault;
pub mod flaw;
mod heap;
pub mod host;
mod imports;
mod kdump;
mod kvar;
pub mod ledger;
pub mod link;
pub mod loads;
mod lock;
mod low;
mod machine;
mod pageable;
mod proc;
mod sched;
pub mod sysctl;
mod text;
mod thread;
pub mod user;
pub mod vnode;
mod witness;

pub use proc::Kp;
pub use thread::Kt;

/// Starts the stand-in, with its own stock backend or the one in `stock`. The caller becomes its
/// first thread, in a process of root.
///
/// # Errors
///
/// Fails if the file holds no such backend.
pub fn boot(config: host::Config, stock: Option<&[u8]>) -> anyhow::Result<()> {
    host::configure(config);
    fault::init();
    text::init(stock)?;
    proc::boot();
    Ok(())
}
