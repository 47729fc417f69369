//! A relocatable ELF file, as the checks see it.

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, Rela, SectionHeader, Sym};
use object::read::{SectionIndex, SymbolIndex};

type Header = elf::FileHeader64<LittleEndian>;

/// A kernel module's file. Sections and symbols keep the numbers they have in it,
/// so the first of each is the null entry.
#[derive(Debug)]
pub struct Module<'a> {
    /// `e_type`: `ET_REL` in a module.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `EI_OSABI`.
    pub os_abi: u8,
    /// The sections.
    pub sections: Vec<Section<'a>>,
    /// The symbols.
    pub symbols: Vec<Symbol<'a>>,
}

/// A section, with the relocations that apply to it.
#[derive(Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// Its size in memory.
    pub size: u64,
    /// Its bytes in the file: none for `SHT_NOBITS`.
    pub data: &'a [u8],
    /// The relocations that apply to it, by offset.
    pub relocations: Vec<Relocation>,
}

/// A relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The offset in the section it applies to.
    pub offset: u64,
    /// `R_X86_64_…`.
    pub kind: u32,
    /// The number of the symbol; 0 is none.
    pub symbol: usize,
    /// What is added to the symbol's value; none in an `SHT_REL` table, which
    /// keeps it in the place that is relocated.
    pub addend: Option<i64>,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolPlace {
    /// Nowhere: another file must.
    Undefined,
    /// Nowhere yet: `SHN_COMMON`.
    Common,
    /// It is a number.
    Absolute,
    /// In the section with this number.
    Section(usize),
}

/// A symbol.
#[derive(Debug)]
pub struct Symbol<'a> {
    /// Its name; a section's symbol has none.
    pub name: &'a str,
    /// `STT_…`.
    pub kind: u8,
    /// `STB_…`.
    pub bind: u8,
    /// Where it is defined.
    pub place: SymbolPlace,
    /// Its offset in its section.
    pub value: u64,
    /// Its size.
    pub size: u64,
}

impl<'a> Module<'a> {
    /// Reads a 64-bit little-endian ELF file.
    ///
    /// # Errors
    ///
    /// When it is none, or when a table of it does not lie within the file.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let header = Header::parse(data).context("not an ELF64 file")?;
        let endian = header.endian().context("not a little-endian file")?;
        let table = header.sections(endian, data).context("section headers")?;
        let symbol_table = table.symbols(endian, data, elf::SHT_SYMTAB).context("symbol table")?;

        let mut sections = Vec::with_capacity(table.len());
        for (index, section) in table.enumerate() {
            sections.push(Section {
                name: std::str::from_utf8(table.section_name(endian, section)?)
                    .with_context(|| format!("name of section {}", index.0))?,
                kind: section.sh_type(endian),
                flags: section.sh_flags(endian),
                size: section.sh_size(endian),
                data: section.data(endian, data)?,
                relocations: Vec::new(),
            });
        }
        for (index, section) in table.enumerate() {
            let mut relocations = Vec::new();
            let link = if let Some((entries, link)) = section.rela(endian, data)? {
                relocations.extend(entries.iter().map(|entry| Relocation {
                    offset: entry.r_offset(endian),
                    kind: entry.r_type(endian, false),
                    symbol: entry.r_sym(endian, false) as usize,
                    addend: Some(entry.r_addend(endian)),
                }));
                link
            } else if let Some((entries, link)) = section.rel(endian, data)? {
                relocations.extend(entries.iter().map(|entry| Relocation {
                    offset: entry.r_offset.get(endian),
                    kind: entry.r_type(endian),
                    symbol: entry.r_sym(endian) as usize,
                    addend: None,
                }));
                link
            } else {
                continue;
            };
            if link != symbol_table.section() && link != SectionIndex(0) {
                bail!("relocations of section {} use another symbol table", index.0);
            }
            let target = section.sh_info(endian) as usize;
            let target = sections.get_mut(target).with_context(|| {
                format!("section {} relocates section {target}, which is not there", index.0)
            })?;
            target.relocations.extend(relocations);
            target.relocations.sort_by_key(|relocation| relocation.offset);
        }

        let mut symbols = Vec::with_capacity(symbol_table.len());
        for (index, symbol) in symbol_table.enumerate() {
            let place = match symbol.st_shndx(endian) {
                elf::SHN_UNDEF => SymbolPlace::Undefined,
                elf::SHN_COMMON => SymbolPlace::Common,
                _ => match symbol_table.symbol_section(endian, symbol, SymbolIndex(index.0))? {
                    Some(section) if section.0 < sections.len() => SymbolPlace::Section(section.0),
                    Some(section) => {
                        bail!("symbol {} is in section {}, which is not there", index.0, section.0)
                    }
                    None => SymbolPlace::Absolute,
                },
            };
            symbols.push(Symbol {
                name: std::str::from_utf8(symbol_table.symbol_name(endian, symbol)?)
                    .with_context(|| format!("name of symbol {}", index.0))?,
                kind: symbol.st_type(),
                bind: symbol.st_bind(),
                place,
                value: symbol.st_value(endian),
                size: symbol.st_size(endian),
            });
        }

        Ok(Self {
            kind: header.e_type(endian),
            machine: header.e_machine(endian),
            os_abi: header.e_ident().os_abi,
            sections,
            symbols,
        })
    }

    /// The function or object that covers an offset of a section.
    pub fn symbol_at(&self, section: usize, offset: u64) -> Option<&Symbol<'a>> {
        self.symbols.iter().find(|symbol| {
            symbol.place == SymbolPlace::Section(section)
                && matches!(symbol.kind, elf::STT_FUNC | elf::STT_OBJECT)
                && offset >= symbol.value
                && offset - symbol.value < symbol.size.max(1)
        })
    }

    /// The sections that the kernel gives memory to.
    pub fn loaded(&self) -> impl Iterator<Item = (usize, &Section<'a>)> {
        self.sections.iter().enumerate().filter(|(_, section)| section.has(elf::SHF_ALLOC))
    }
}

impl Section<'_> {
    /// Whether the section has all of `flags` (`SHF_…`).
    pub fn has(&self, flags: u32) -> bool {
        self.flags & u64::from(flags) == u64::from(flags)
    }

    /// Whether the kernel runs what is in it.
    pub fn is_code(&self) -> bool {
        self.has(elf::SHF_ALLOC | elf::SHF_EXECINSTR)
    }

    /// The first relocation within `start..end`.
    pub fn relocation_within(&self, start: u64, end: u64) -> Option<&Relocation> {
        let first = self.relocations.partition_point(|relocation| relocation.offset < start);
        self.relocations.get(first).filter(|relocation| relocation.offset < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;

    #[test]
    fn numbers_are_those_of_the_file() {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0xe8, 0, 0, 0, 0, 0xc3]);
        elf.relocate(".text", 1, elf::R_X86_64_PLT32, "g", -4);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();

        assert_eq!((module.kind, module.os_abi), (elf::ET_REL, elf::ELFOSABI_FREEBSD));
        assert_eq!(module.sections[0].name, "");
        let (text, section) = module.loaded().find(|(_, section)| section.name == ".text").unwrap();
        let relocation = section.relocations[0];
        assert_eq!((relocation.offset, relocation.addend), (1, Some(-4)));
        let called = &module.symbols[relocation.symbol];
        assert_eq!((called.name, called.place), ("g", SymbolPlace::Undefined));
        assert_eq!(module.symbol_at(text, 5).unwrap().name, "f");
        assert!(module.symbol_at(text, 6).is_none());
    }

    #[test]
    fn what_is_not_elf_is_an_error() {
        assert!(Module::parse(b"#!/bin/sh\n").is_err());
        let file = ElfBuilder::module().build();
        assert!(Module::parse(&file[..file.len() / 2]).is_err());
    }
}
