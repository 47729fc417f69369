//! The parser of a module's file.

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader, Sym};
use object::read::{SectionIndex, SymbolIndex};

use crate::module::{Dynamic, Module, Relocation, Section, Segment, Symbol, SymbolPlace};

type Header = elf::FileHeader64<LittleEndian>;
type SymbolTable<'a> = object::read::elf::SymbolTable<'a, Header>;

impl<'a> Module<'a> {
    /// Reads a 64-bit little-endian ELF file.
    ///
    /// # Errors
    ///
    /// Fails if it is no such file, or if one of its tables does not lie within the file.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let header = Header::parse(data).context("not an ELF64 file")?;
        let endian = header.endian().context("not a little-endian file")?;
        let shared = header.e_type(endian) == elf::ET_DYN;
        let programs = header.program_headers(endian, data).context("program headers")?;
        let table = header.sections(endian, data).context("section headers")?;
        let symbol_table = table.symbols(endian, data, elf::SHT_SYMTAB).context("symbol table")?;
        let dynamic_table = table.symbols(endian, data, elf::SHT_DYNSYM).context("dynamic symbol table")?;

        let mut dynamic = Vec::new();
        for program in programs {
            let entries = program.dynamic(endian, data).context("dynamic table")?.unwrap_or_default();
            let entries = entries
                .iter()
                .map(|entry| Dynamic { tag: entry.d_tag.get(endian), value: entry.d_val.get(endian) });
            dynamic.extend(entries.take_while(|entry| entry.tag != u64::from(elf::DT_NULL)));
        }

        let mut sections = Vec::with_capacity(table.len());
        for (index, section) in table.enumerate() {
            sections.push(Section {
                name: std::str::from_utf8(table.section_name(endian, section)?)
                    .with_context(|| format!("name of section {}", index.0))?,
                kind: section.sh_type(endian),
                flags: section.sh_flags(endian),
                address: section.sh_addr(endian),
                size: section.sh_size(endian),
                data: section.data(endian, data)?,
                relocations: Vec::new(),
            });
        }
        for (index, section) in table.enumerate() {
            let Some((relocations, link)) = relocations(section, data)? else { continue };
            if shared && section.sh_flags(endian) & u64::from(elf::SHF_ALLOC) == 0 {
                // The kernel does not apply these: the linker already has.
                continue;
            }
            let symbols = if shared { &dynamic_table } else { &symbol_table };
            if link != symbols.section() && link != SectionIndex(0) {
                bail!("relocations of section {} use another symbol table", index.0);
            }
            if shared {
                relocate_by_address(&mut sections, relocations);
                continue;
            }
            let target = section.sh_info(endian) as usize;
            let target = sections.get_mut(target).with_context(|| {
                format!("section {} relocates section {target}, which is not there", index.0)
            })?;
            target.relocations.extend(relocations);
        }
        for section in &mut sections {
            section.relocations.sort_by_key(|relocation| relocation.offset);
        }

        Ok(Self {
            kind: header.e_type(endian),
            machine: header.e_machine(endian),
            os_abi: header.e_ident().os_abi,
            segments_end: match programs {
                [] => 0,
                _ => header.e_phoff(endian).saturating_add(size_of_val(programs) as u64),
            },
            segments: programs
                .iter()
                .map(|program| Segment {
                    kind: program.p_type(endian),
                    flags: program.p_flags(endian),
                    offset: program.p_offset(endian),
                    address: program.p_vaddr(endian),
                    file_size: program.p_filesz(endian),
                    memory_size: program.p_memsz(endian),
                })
                .collect(),
            dynamic,
            symbols: symbols(&symbol_table, &sections)?,
            dynamic_symbols: symbols(&dynamic_table, &sections)?,
            sections,
        })
    }
}

/// Returns the relocations in a section, if it is a relocation table, and the number of the symbol
/// table that they use.
fn relocations(
    section: &elf::SectionHeader64<LittleEndian>,
    data: &[u8],
) -> Result<Option<(Vec<Relocation>, SectionIndex)>> {
    let endian = LittleEndian;
    if let Some((entries, link)) = section.rela(endian, data)? {
        let relocations = entries.iter().map(|entry| Relocation {
            offset: entry.r_offset(endian),
            kind: entry.r_type(endian, false),
            symbol: entry.r_sym(endian, false) as usize,
            addend: Some(entry.r_addend(endian)),
        });
        return Ok(Some((relocations.collect(), link)));
    }
    if let Some((entries, link)) = section.rel(endian, data)? {
        let relocations = entries.iter().map(|entry| Relocation {
            offset: entry.r_offset.get(endian),
            kind: entry.r_type(endian),
            symbol: entry.r_sym(endian) as usize,
            addend: None,
        });
        return Ok(Some((relocations.collect(), link)));
    }
    Ok(None)
}

/// Distributes the relocations of a shared object, which are by address, to the sections that they
/// apply to.
fn relocate_by_address(sections: &mut [Section<'_>], relocations: Vec<Relocation>) {
    for mut relocation in relocations {
        let target = sections.iter().position(|section| {
            section.has(elf::SHF_ALLOC)
                && relocation.offset >= section.address
                && relocation.offset - section.address < section.size
        });
        let Some(section) = sections.get_mut(target.unwrap_or(0)) else { continue };
        if target.is_some() {
            relocation.offset -= section.address;
        }
        section.relocations.push(relocation);
    }
}

/// Returns the symbols of a table.
fn symbols<'a>(table: &SymbolTable<'a>, sections: &[Section<'_>]) -> Result<Vec<Symbol<'a>>> {
    let endian = LittleEndian;
    let mut symbols = Vec::with_capacity(table.len());
    for (index, symbol) in table.enumerate() {
        let place = match symbol.st_shndx(endian) {
            elf::SHN_UNDEF => SymbolPlace::Undefined,
            elf::SHN_COMMON => SymbolPlace::Common,
            _ => match table.symbol_section(endian, symbol, SymbolIndex(index.0))? {
                Some(section) if section.0 < sections.len() => SymbolPlace::Section(section.0),
                Some(section) => {
                    bail!("symbol {} is in section {}, which is not there", index.0, section.0)
                }
                None => SymbolPlace::Absolute,
            },
        };
        let beginning = match place {
            SymbolPlace::Section(section) => sections[section].address,
            _ => 0,
        };
        symbols.push(Symbol {
            name: std::str::from_utf8(table.symbol_name(endian, symbol)?)
                .with_context(|| format!("name of symbol {}", index.0))?,
            kind: symbol.st_type(),
            bind: symbol.st_bind(),
            place,
            value: symbol.st_value(endian).wrapping_sub(beginning),
            size: symbol.st_size(endian),
        });
    }
    Ok(symbols)
}
