//! An ELF file, as the checks see it: relocatable, or a shared object.

use object::elf;

/// A kernel module's file. Sections and symbols keep their numbers in the file, so the first of
/// each is the null entry.
#[derive(Debug)]
pub struct Module<'a> {
    /// The `e_type`: `ET_REL` in a module for amd64, `ET_DYN` in one for arm64.
    pub kind: u16,
    /// The `e_machine`.
    pub machine: u16,
    /// The `EI_OSABI`.
    pub os_abi: u8,
    /// The end of the program headers in the file. Zero if there are none.
    pub segments_end: u64,
    /// The program headers.
    pub segments: Vec<Segment>,
    /// The entries of `PT_DYNAMIC`, up to `DT_NULL`.
    pub dynamic: Vec<Dynamic>,
    /// The sections.
    pub sections: Vec<Section<'a>>,
    /// The symbols of `.symtab`.
    pub symbols: Vec<Symbol<'a>>,
    /// The symbols of `.dynsym`.
    pub dynamic_symbols: Vec<Symbol<'a>>,
}

/// A program header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The `p_type`.
    pub kind: u32,
    /// The `p_flags`.
    pub flags: u32,
    /// The offset in the file.
    pub offset: u64,
    /// The address in memory, relative to the module's base.
    pub address: u64,
    /// The size in the file.
    pub file_size: u64,
    /// The size in memory.
    pub memory_size: u64,
}

/// An entry of `PT_DYNAMIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dynamic {
    /// The tag, `DT_…`.
    pub tag: u64,
    /// A number or an address.
    pub value: u64,
}

/// A section, with the relocations that apply to it.
#[derive(Debug)]
pub struct Section<'a> {
    /// The name.
    pub name: &'a str,
    /// The `sh_type`.
    pub kind: u32,
    /// The `sh_flags`.
    pub flags: u64,
    /// The address in memory, relative to the module's base. Zero in a relocatable file.
    pub address: u64,
    /// The size in memory.
    pub size: u64,
    /// The bytes in the file. Empty for `SHT_NOBITS`.
    pub data: &'a [u8],
    /// The relocations that apply to the section, by offset. The null section has those of a shared
    /// object that apply to no section.
    pub relocations: Vec<Relocation>,
}

/// A relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The offset in the section that it applies to.
    pub offset: u64,
    /// The type, `R_X86_64_…` or `R_AARCH64_…`.
    pub kind: u32,
    /// The number of the symbol among [`Module::linked_symbols`]. Zero means none.
    pub symbol: usize,
    /// The number added to the symbol's value. None in an `SHT_REL` table, which keeps it in the
    /// relocated place.
    pub addend: Option<i64>,
}

/// The place where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolPlace {
    /// Another file, which must define the symbol.
    Undefined,
    /// No place yet: `SHN_COMMON`.
    Common,
    /// No place: the symbol is a number.
    Absolute,
    /// The section with this number.
    Section(usize),
}

/// A symbol.
#[derive(Debug)]
pub struct Symbol<'a> {
    /// The name. A section's symbol has none.
    pub name: &'a str,
    /// The type, `STT_…`.
    pub kind: u8,
    /// The binding, `STB_…`.
    pub bind: u8,
    /// The place where it is defined.
    pub place: SymbolPlace,
    /// The offset in its section.
    pub value: u64,
    /// The size.
    pub size: u64,
}

impl<'a> Module<'a> {
    /// Returns the function or object that covers an offset of a section.
    pub fn symbol_at(&self, section: usize, offset: u64) -> Option<&Symbol<'a>> {
        self.symbols.iter().find(|symbol| {
            symbol.place == SymbolPlace::Section(section)
                && matches!(symbol.kind, elf::STT_FUNC | elf::STT_OBJECT)
                && offset >= symbol.value
                && offset - symbol.value < symbol.size.max(1)
        })
    }

    /// Returns the symbols that relocations refer to and the kernel looks up, with the name of
    /// their table.
    pub fn linked_symbols(&self) -> (&'static str, &[Symbol<'a>]) {
        if self.kind == elf::ET_DYN { (".dynsym", &self.dynamic_symbols) } else { (".symtab", &self.symbols) }
    }

    /// Returns whether `size` bytes at `address` are within a loaded segment with all of `flags`
    /// (`PF_…`).
    pub fn is_in_memory(&self, address: u64, size: u64, flags: u32) -> bool {
        self.segments.iter().any(|segment| {
            segment.kind == elf::PT_LOAD && segment.has(flags) && segment.covers(address, size)
        })
    }

    /// Returns the sections that the kernel gives memory to.
    pub fn loaded(&self) -> impl Iterator<Item = (usize, &Section<'a>)> {
        self.sections.iter().enumerate().filter(|(_, section)| section.has(elf::SHF_ALLOC))
    }
}

impl Segment {
    /// Returns whether the segment has all of `flags` (`PF_…`).
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Returns whether `size` bytes at `address` are within the segment.
    pub fn covers(&self, address: u64, size: u64) -> bool {
        let offset = address.checked_sub(self.address);
        offset.and_then(|offset| offset.checked_add(size)).is_some_and(|end| end <= self.memory_size)
    }
}

impl Section<'_> {
    /// Returns whether the section has all of `flags` (`SHF_…`).
    pub fn has(&self, flags: u32) -> bool {
        self.flags & u64::from(flags) == u64::from(flags)
    }

    /// Returns whether the section contains code that the kernel runs.
    pub fn is_code(&self) -> bool {
        self.has(elf::SHF_ALLOC | elf::SHF_EXECINSTR)
    }
}
