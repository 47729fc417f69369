//! What the processors that the module is built for differ in: one file for each. All else is the same
//! source for all of them, but for the numbers of kernel structures in `kmod/layout/table.txt`.

use core::ops::Range;

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
mod amd64_length;
#[cfg(target_arch = "aarch64")]
mod arm64;

#[cfg(target_arch = "x86_64")]
pub(crate) use amd64::*;
#[cfg(target_arch = "aarch64")]
pub(crate) use arm64::*;

/// Code of a function, at most as much as a detour takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    bytes: [u8; DETOUR_MAX],
    len: usize,
}

impl Code {
    /// Returns `len` bytes of code from the front of `bytes`; `None` if there are not so many, or too many.
    pub(crate) fn new(bytes: &[u8], len: usize) -> Option<Self> {
        let mut code = Code { bytes: [0; DETOUR_MAX], len };
        code.bytes.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
        Some(code)
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The way from a function of the kernel to an entry.
pub(crate) struct Detour {
    /// Offset in the function of the bytes that are replaced.
    pub(crate) offset: usize,
    /// The jump that replaces them.
    pub(crate) jump: Code,
    /// The code at the island, where the function has room for a branch to that only.
    pub(crate) island: Option<Code>,
}

/// Why a function cannot be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Another tool has a breakpoint or a jump in it.
    Patched,
    /// It has no room for a jump that reaches the entry.
    TooShort,
}

/// The function that is to be redirected, and what it may lead to.
pub(crate) struct Site<'a> {
    /// Its code.
    pub(crate) code: &'a [u8],
    /// Its address.
    pub(crate) address: usize,
    /// The functions of the stock backend: a jump to another place is not the compiler's.
    pub(crate) backend: &'a Range<usize>,
    /// Address of dead code of another redirected function, with room for [`ISLAND_MAX`] bytes; none if all is in use.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "a jump of amd64 reaches every entry"))]
    pub(crate) island: Option<usize>,
}

/// What a `char` of C is, which has a sign on amd64 only.
pub(crate) fn byte(char: core::ffi::c_char) -> u8 {
    let [byte] = char.to_ne_bytes();
    byte
}
