//! The differences between the processors that the module is built for. The stand-in is built for
//! the same processor as the module; the host may emulate it.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "aarch64")]
mod arm64;

#[cfg(target_arch = "x86_64")]
pub(crate) use amd64::*;
#[cfg(target_arch = "aarch64")]
pub(crate) use arm64::*;
