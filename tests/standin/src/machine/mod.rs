//! What the processors differ in that the module is built for: the host's, too, which may be emulated.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "aarch64")]
mod arm64;

#[cfg(target_arch = "x86_64")]
pub(crate) use amd64::*;
#[cfg(target_arch = "aarch64")]
pub(crate) use arm64::*;
