//! A kernel for `ktrace_rs.ko`, in a process of Linux: the module is linked as FreeBSD links it, loaded, driven, checked
//! and unloaded, byte for byte the file that users load.
//!
//! - [`link`] is the linker, [`text`] the kernel's own functions that the module redirects, [`kvar`] its variables.
//! - [`sched`] has CPUs, of which there are fewer than [`thread`]s, and stops them all at once; [`lock`], [`witness`],
//!   [`heap`], [`counter`], [`event`], [`sysctl`], [`proc`], [`cred`], [`vnode`] are what the module calls.
//! - [`user`] is what processes do, and where the kernel calls the backend for them.
//! - [`ledger`] knows every record that was made, and looks for it in the file; [`balance`] what was taken.
//! - [`loads`] drive all of that; [`flaw`] puts faults in that the checks have to find.

mod balance;
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

/// Starts the stand-in, with a stock backend of its own or that of a file; the caller becomes its first thread, that of a
/// process of root.
///
/// # Errors
///
/// When the file holds no such backend.
pub fn boot(config: host::Config, stock: Option<&[u8]>) -> anyhow::Result<()> {
    host::configure(config);
    fault::init();
    text::init(stock)?;
    proc::boot();
    Ok(())
}
