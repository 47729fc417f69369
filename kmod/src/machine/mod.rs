//! What the processors that the module is built for differ in: one file for each. All else is the same
//! source for all of them, but for the numbers of kernel structures in `kmod/layout/table.txt`.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "aarch64")]
mod arm64;

#[cfg(target_arch = "x86_64")]
pub(crate) use amd64::*;
#[cfg(target_arch = "aarch64")]
pub(crate) use arm64::*;

/// What a `char` of C is, which has a sign on amd64 only.
pub(crate) fn byte(char: core::ffi::c_char) -> u8 {
    let [byte] = char.to_ne_bytes();
    byte
}
