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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;

    #[test]
    fn each_kind_is_counted_once() {
        let mut elf = ElfBuilder::module();
        let before = sizes(&Module::parse(&elf.build()).unwrap());
        elf.function("f", [0xc3]);
        elf.section(".rodata", elf::SHT_PROGBITS, elf::SHF_ALLOC, &[0; 10]);
        elf.section(".data", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 20]);
        elf.bss(".bss", 400);
        elf.section(".comment", elf::SHT_PROGBITS, 0, &[0; 3]);
        let after = sizes(&Module::parse(&elf.build()).unwrap());
        assert_eq!(after.text, before.text + 1);
        assert_eq!(after.rodata, before.rodata + 10);
        assert_eq!(after.data, before.data + 20);
        assert_eq!(after.bss, before.bss + 400);
    }
}
