//! Processor-specific code, one file for each processor. All other source is shared, except for the
//! numbers of kernel structures in `kmod/layout/table.txt`.

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

/// A piece of code, no longer than a detour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    bytes: [u8; DETOUR_MAX],
    len: usize,
}

impl Code {
    /// Returns the first `len` bytes of `bytes` as code. Returns `None` if `bytes` is shorter, or
    /// `len` is longer than a detour.
    pub(crate) fn new(bytes: &[u8], len: usize) -> Option<Self> {
        let mut code = Code { bytes: [0; DETOUR_MAX], len };
        code.bytes.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
        Some(code)
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The redirection of a kernel function to an entry.
pub(crate) struct Detour {
    /// Offset of the replaced bytes in the function.
    pub(crate) offset: usize,
    /// The jump that replaces them.
    pub(crate) jump: Code,
    /// The code at the island, if the function has room only for a branch to it.
    pub(crate) island: Option<Code>,
}

/// The reason why a function cannot be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A breakpoint or a jump of another tool in the function.
    Patched,
    /// Too little room for a jump that reaches the entry.
    TooShort,
}

/// A function to be redirected, and its surroundings.
pub(crate) struct Site<'a> {
    /// Code of the function.
    pub(crate) code: &'a [u8],
    /// Address of the function.
    pub(crate) address: usize,
    /// The functions of the stock backend. The compiler makes no jump out of them, so such a jump
    /// belongs to another tool.
    pub(crate) backend: &'a Range<usize>,
    /// Address of dead code in another redirected function, with room for [`ISLAND_MAX`] bytes.
    /// `None` if all dead code is in use.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "a jump of amd64 reaches every entry"))]
    pub(crate) island: Option<usize>,
}

/// Returns a C `char` as a byte. A `char` is signed on amd64 only.
pub(crate) fn byte(char: core::ffi::c_char) -> u8 {
    let [byte] = char.to_ne_bytes();
    byte
}
