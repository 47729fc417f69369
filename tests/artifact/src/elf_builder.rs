//! Small ELF objects for tests, built section by section.

use object::elf;
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, RelocationFlags, SectionFlags, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
};

/// An object under construction.
pub(crate) struct ElfBuilder {
    object: Object<'static>,
    sections: Vec<(String, SectionId)>,
    local: Vec<(String, SymbolId)>,
}

impl ElfBuilder {
    /// Creates a FreeBSD/amd64 object without sections.
    pub(crate) fn empty() -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        object.flags = FileFlags::Elf { os_abi: elf::ELFOSABI_FREEBSD, abi_version: 0, e_flags: 0 };
        Self { object, sections: Vec::new(), local: Vec::new() }
    }

    /// Creates the smallest object that passes for a module: the two linker sets.
    pub(crate) fn module() -> Self {
        let mut elf = Self::empty();
        for set in ["set_sysinit_set", "set_modmetadata_set"] {
            elf.section(set, elf::SHT_PROGBITS, elf::SHF_ALLOC, &[0; 8]);
        }
        elf
    }

    /// Sets `EI_OSABI`.
    pub(crate) fn os_abi(&mut self, os_abi: u8) {
        self.object.flags = FileFlags::Elf { os_abi, abi_version: 0, e_flags: 0 };
    }

    /// Adds a section. A type such as `SHT_NOTE` or an array type is passed in `kind`.
    pub(crate) fn section(&mut self, name: &str, kind: u32, flags: u32, data: &[u8]) {
        let id = self.object.add_section(Vec::new(), name.into(), SectionKind::Elf(kind));
        let section = self.object.section_mut(id);
        section.flags = SectionFlags::Elf { sh_flags: flags.into() };
        section.set_data(data.to_vec(), 8);
        self.sections.push((name.to_owned(), id));
    }

    /// Adds a zero-filled section without bytes in the file.
    pub(crate) fn bss(&mut self, name: &str, size: u64) {
        let id = self.object.add_section(Vec::new(), name.into(), SectionKind::UninitializedData);
        self.object.append_section_bss(id, size, 8);
    }

    /// Adds a function to the end of `.text`.
    pub(crate) fn function(&mut self, name: &str, code: impl AsRef<[u8]>) {
        self.text(name, SymbolKind::Text, code.as_ref());
    }

    /// Adds a function at the beginning of `.text` that claims more bytes than it has.
    pub(crate) fn oversized_function(&mut self, name: &str) {
        let text = self.id(".text");
        let mut symbol = symbol(name, SymbolSection::Section(text), elf::STB_GLOBAL, elf::STT_FUNC);
        symbol.size = 1 << 20;
        self.object.add_symbol(symbol);
    }

    /// Adds data to `.text`.
    pub(crate) fn data_in_text(&mut self, name: &str, data: &[u8]) {
        self.text(name, SymbolKind::Data, data);
    }

    /// Adds bytes to `.text` that no symbol covers.
    pub(crate) fn unnamed_text(&mut self, bytes: &[u8]) {
        let text = self.id(".text");
        self.object.append_section_data(text, bytes, 1);
    }

    /// Adds an undefined symbol.
    pub(crate) fn undefined(&mut self, name: &str) -> SymbolId {
        self.object.add_symbol(symbol(name, SymbolSection::Undefined, elf::STB_GLOBAL, elf::STT_NOTYPE))
    }

    /// Adds an undefined local symbol.
    pub(crate) fn local(&mut self, name: &str) {
        let id =
            self.object.add_symbol(symbol(name, SymbolSection::Undefined, elf::STB_LOCAL, elf::STT_NOTYPE));
        self.local.push((name.to_owned(), id));
    }

    /// Adds a common symbol.
    pub(crate) fn common(&mut self, name: &str, size: u64) {
        let mut symbol = symbol(name, SymbolSection::Common, elf::STB_GLOBAL, elf::STT_OBJECT);
        symbol.size = size;
        symbol.value = 8;
        self.object.add_symbol(symbol);
    }

    /// Adds a thread-local symbol at the beginning of a section.
    pub(crate) fn thread_local(&mut self, section: &str, name: &str) {
        let section = self.id(section);
        self.object.add_symbol(symbol(name, SymbolSection::Section(section), elf::STB_GLOBAL, elf::STT_TLS));
    }

    /// Adds a relocation against a symbol. Creates the symbol, undefined, if it does not exist.
    pub(crate) fn relocate(&mut self, section: &str, offset: u64, r_type: u32, name: &str, addend: i64) {
        let local = self.local.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        let symbol = local.or_else(|| self.object.symbol_id(name.as_bytes()));
        let symbol = symbol.unwrap_or_else(|| self.undefined(name));
        let section = self.id(section);
        let flags = RelocationFlags::Elf { r_type };
        self.object
            .add_relocation(section, Relocation { offset, symbol, addend, flags })
            .expect("relocation");
    }

    /// Returns the file.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.object.write().expect("object")
    }

    /// Returns the section of that name. Creates `.text` on first use.
    fn id(&mut self, name: &str) -> SectionId {
        if let Some((_, id)) = self.sections.iter().find(|(known, _)| known == name) {
            return *id;
        }
        assert_eq!(name, ".text", "no such section");
        self.section(name, elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_EXECINSTR, &[]);
        self.id(name)
    }

    fn text(&mut self, name: &str, kind: SymbolKind, bytes: &[u8]) {
        let text = self.id(".text");
        let value = self.object.append_section_data(text, bytes, 1);
        self.object.add_symbol(Symbol {
            name: name.into(),
            value,
            size: bytes.len() as u64,
            kind,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
    }
}

/// Returns a symbol of the given binding and type, with value 0.
fn symbol(name: &str, section: SymbolSection, bind: u8, kind: u8) -> Symbol {
    Symbol {
        name: name.into(),
        value: 0,
        size: 0,
        kind: SymbolKind::Unknown,
        scope: SymbolScope::Linkage,
        weak: false,
        section,
        flags: SymbolFlags::Elf { st_info: bind << 4 | kind, st_other: 0 },
    }
}
