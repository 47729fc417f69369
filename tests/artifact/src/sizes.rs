//! The memory use of a module.

use object::elf;

use crate::module::Module;

/// The sizes in bytes of the sections that the kernel gives memory to, by kind, without the padding
/// between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Code.
    pub text: u64,
    /// Read-only data.
    pub rodata: u64,
    /// Writable data.
    pub data: u64,
    /// Zero-initialised data.
    pub bss: u64,
}

/// Adds up the sections of `module`.
pub(crate) fn sizes(module: &Module<'_>) -> Sizes {
    let mut sizes = Sizes::default();
    for (_, section) in module.loaded() {
        let kind = if section.is_code() {
            &mut sizes.text
        } else if section.kind == elf::SHT_NOBITS {
            &mut sizes.bss
        } else if section.has(elf::SHF_WRITE) {
            &mut sizes.data
        } else {
            &mut sizes.rodata
        };
        *kind += section.size;
    }
    sizes
}
