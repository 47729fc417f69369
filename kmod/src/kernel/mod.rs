//! The kernel as the module sees it: a thin layer of safe types over `kernel_sys`.

pub(crate) mod context;
pub(crate) mod counter;
pub(crate) mod event;
pub(crate) mod kproc;
pub(crate) mod layout;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod memory;
mod panic;
pub(crate) mod proc;
pub(crate) mod retire;
pub(crate) mod sdt;
pub(crate) mod stop;
pub(crate) mod sysctl;
pub(crate) mod tables;
pub(crate) mod text;
pub(crate) mod vnode;
