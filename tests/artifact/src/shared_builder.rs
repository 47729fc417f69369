//! Small shared objects for arm64, for tests. They have a page each of tables, of code and of data,
//! at the same offset in the file as in memory.

use object::elf;

/// The address of the code.
pub(crate) const TEXT: u64 = 0x1000;
/// The address of the data.
pub(crate) const DATA: u64 = 0x2000;
/// The offset of the part of the file that is not loaded.
const END: u64 = 0x3000;

const DYNSYM: u64 = 0x200;
const HASH: u64 = 0x500;
const DYNSTR: u64 = 0x600;
const RELA: u64 = 0x900;
const PLT: u64 = TEXT + 0x800;
const DYNAMIC: u64 = DATA + 0x800;

/// The number of the first section that is not one of the tables.
const FIRST_PART: usize = 5;

/// A program header.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
}

/// A section.
#[derive(Clone, Default)]
struct Part {
    name: String,
    kind: u32,
    flags: u32,
    address: u64,
    data: Vec<u8>,
    link: u64,
    entry: u64,
}

/// A symbol: an offset in a section, or undefined.
struct Name {
    name: String,
    info: u8,
    section: usize,
    value: u64,
    size: u64,
}

/// A shared object under construction.
pub(crate) struct SharedBuilder {
    /// The program headers.
    pub(crate) segments: Vec<Segment>,
    /// The offset of the program headers in the file.
    pub(crate) segments_at: u64,
    /// The number of symbols in the hash table, if not all.
    pub(crate) hashed: Option<u64>,
    /// Whether relocations have addends.
    pub(crate) rela: bool,
    parts: Vec<Part>,
    symbols: Vec<Name>,
    dynamic_symbols: Vec<Name>,
    relocations: Vec<[u64; 3]>,
    tags: Vec<[u64; 2]>,
    left_out: Vec<u32>,
}

impl SharedBuilder {
    /// Creates a shared object with only its tables to link.
    pub(crate) fn empty() -> Self {
        let load = |flags, address| Segment {
            kind: elf::PT_LOAD,
            flags,
            offset: address,
            address,
            file_size: 0x1000,
            memory_size: 0x1000,
        };
        let data = load(elf::PF_R | elf::PF_W, DATA);
        let dynamic = Segment {
            kind: elf::PT_DYNAMIC,
            offset: DYNAMIC,
            address: DYNAMIC,
            file_size: 0x200,
            memory_size: 0x200,
            ..data
        };
        Self {
            segments: vec![load(elf::PF_R, 0), load(elf::PF_R | elf::PF_X, TEXT), data, dynamic],
            segments_at: 0x40,
            hashed: None,
            rela: true,
            parts: Vec::new(),
            symbols: Vec::new(),
            dynamic_symbols: Vec::new(),
            relocations: Vec::new(),
            tags: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Creates the smallest shared object that passes for a module: the two linker sets.
    pub(crate) fn module() -> Self {
        let mut elf = Self::empty();
        for set in ["set_sysinit_set", "set_modmetadata_set"] {
            let address = elf.section(set, elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 8]);
            elf.relocate(address, elf::R_AARCH64_RELATIVE, 0);
            elf.export(&format!("__start_{set}"), set, 0);
            elf.export(&format!("__stop_{set}"), set, 8);
        }
        elf
    }

    /// Adds a section. Returns its address.
    pub(crate) fn section(&mut self, name: &str, kind: u32, flags: u32, data: &[u8]) -> u64 {
        let beginning = match () {
            () if name == ".text" => TEXT,
            () if flags & elf::SHF_EXECINSTR != 0 => PLT,
            () => DATA,
        };
        let others = self.parts.iter().filter(|part| (beginning..beginning + 0x800).contains(&part.address));
        let address = beginning + others.map(|part| part.data.len() as u64).sum::<u64>();
        let data = data.to_vec();
        self.parts.push(Part { name: name.to_owned(), kind, flags, address, data, ..Part::default() });
        address
    }

    /// Adds a function to the end of `.text`.
    pub(crate) fn function(&mut self, name: &str, code: &[u32]) {
        self.text(name, elf::STT_FUNC, code);
    }

    /// Adds data to `.text`.
    pub(crate) fn data_in_text(&mut self, name: &str, words: &[u32]) {
        self.text(name, elf::STT_OBJECT, words);
    }

    /// Adds words to `.text` that no symbol covers.
    pub(crate) fn unnamed_text(&mut self, words: &[u32]) {
        let text = self.id(".text");
        self.parts[text - FIRST_PART].data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// Adds a mapping symbol, `$x` or `$d`, at the end of `.text`.
    pub(crate) fn mark(&mut self, name: &str) {
        self.text(name, elf::STT_NOTYPE, &[]);
    }

    /// Adds an undefined symbol.
    pub(crate) fn undefined(&mut self, name: &str) {
        self.lost(name);
        self.dynamic_symbols.push(symbol(name, elf::STB_GLOBAL, elf::STT_NOTYPE));
    }

    /// Adds an undefined symbol that `.dynsym` lacks.
    pub(crate) fn lost(&mut self, name: &str) {
        self.symbols.push(symbol(name, elf::STB_GLOBAL, elf::STT_NOTYPE));
    }

    /// Exports a symbol for a place.
    pub(crate) fn export(&mut self, name: &str, section: &str, value: u64) {
        let section = self.id(section);
        self.dynamic_symbols.push(Name { section, value, ..symbol(name, elf::STB_GLOBAL, elf::STT_NOTYPE) });
    }

    /// Adds a relocation against a symbol of `.dynsym`, by its number.
    pub(crate) fn relocate(&mut self, address: u64, kind: u32, symbol: u32) {
        self.relocations.push([address, u64::from(symbol) << 32 | u64::from(kind), 0]);
    }

    /// Adds an entry to `PT_DYNAMIC`.
    pub(crate) fn dynamic(&mut self, tag: u32, value: u64) {
        self.tags.push([tag.into(), value]);
    }

    /// Omits an entry from `PT_DYNAMIC`.
    pub(crate) fn without(&mut self, tag: u32) {
        self.left_out.push(tag);
    }

    /// Returns the file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut parts = self.tables();
        let count = parts.len() + 3;
        parts.extend([self.dynamic_part(), self.symbol_table(&self.symbols, count as u64 - 1)]);
        parts.push(part(".strtab", elf::SHT_STRTAB, 0, 0, strings(&self.symbols)));
        let mut names = vec![0];
        let offsets: Vec<_> = parts.iter().map(|part| add_string(&mut names, &part.name)).collect();

        let mut file = vec![0; END as usize];
        let mut headers = Vec::new();
        for (part, name) in parts.iter().zip(offsets) {
            let offset = match part.address {
                0 => file.len() as u64,
                address => address,
            };
            write(&mut file, offset, &part.data);
            let size = part.data.len() as u64;
            let entry = [name, part.kind.into(), part.flags.into(), part.address, offset, size];
            headers.extend(section_header(entry, part.link, part.entry));
        }
        let names_at = file.len() as u64;
        file.extend(&names);
        let entry = [0, elf::SHT_STRTAB.into(), 0, 0, names_at, names.len() as u64];
        headers.extend(section_header(entry, 0, 0));
        let headers_at = file.len() as u64;
        file.extend(headers);

        let mut segments = Vec::new();
        for Segment { kind, flags, offset, address, file_size, memory_size } in &self.segments {
            segments.extend([*kind, *flags].iter().flat_map(|word| word.to_le_bytes()));
            segments.extend(words(&[*offset, *address, *address, *file_size, *memory_size, 0x1000]));
        }
        write(&mut file, self.segments_at, &segments);
        write(&mut file, 0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        write(&mut file, 16, &halves(&[elf::ET_DYN, elf::EM_AARCH64, 1, 0]));
        write(&mut file, 32, &words(&[self.segments_at, headers_at]));
        let segments = self.segments.len() as u16;
        write(&mut file, 52, &halves(&[64, 56, segments, 64, count as u16 + 1, count as u16]));
        file
    }

    /// Returns the null section, the tables for the kernel linker, and the parts.
    fn tables(&self) -> Vec<Part> {
        let mut dynsym = self.symbol_table(&self.dynamic_symbols, 3);
        dynsym = Part {
            name: ".dynsym".to_owned(),
            kind: elf::SHT_DYNSYM,
            flags: elf::SHF_ALLOC,
            address: DYNSYM,
            ..dynsym
        };
        let count = self.dynamic_symbols.len() as u32 + 1;
        // One bucket, and a chain through all symbols.
        let mut hash = vec![1, self.hashed.map_or(count, |hashed| hashed as u32), u32::from(count > 1)];
        hash.extend((0..count).map(|index| if index + 1 < count && index > 0 { index + 1 } else { 0 }));
        let hash = hash.iter().flat_map(|word| word.to_le_bytes()).collect();
        let width = if self.rela { 3 } else { 2 };
        let rela: Vec<u8> = self.relocations.iter().flat_map(|entry| words(&entry[..width])).collect();
        let kind = if self.rela { elf::SHT_RELA } else { elf::SHT_REL };
        let mut parts = vec![
            Part::default(),
            dynsym,
            part(".hash", elf::SHT_HASH, elf::SHF_ALLOC, HASH, hash),
            part(".dynstr", elf::SHT_STRTAB, elf::SHF_ALLOC, DYNSTR, strings(&self.dynamic_symbols)),
            Part { link: 1, entry: width as u64 * 8, ..part(".rela.dyn", kind, elf::SHF_ALLOC, RELA, rela) },
        ];
        parts.extend(self.parts.iter().cloned());
        parts
    }

    /// Returns `.dynamic`.
    fn dynamic_part(&self) -> Part {
        let mut tags = vec![
            [elf::DT_HASH.into(), HASH],
            [elf::DT_SYMTAB.into(), DYNSYM],
            [elf::DT_STRTAB.into(), DYNSTR],
            [elf::DT_STRSZ.into(), strings(&self.dynamic_symbols).len() as u64],
            [elf::DT_RELA.into(), RELA],
            [elf::DT_RELASZ.into(), self.relocations.len() as u64 * 24],
        ];
        tags.retain(|[tag, _]| !self.left_out.iter().any(|left_out| u64::from(*left_out) == *tag));
        tags.extend(&self.tags);
        let data = tags.iter().flat_map(|entry| words(entry)).collect();
        part(".dynamic", elf::SHT_DYNAMIC, elf::SHF_ALLOC | elf::SHF_WRITE, DYNAMIC, data)
    }

    /// Returns a symbol table whose strings are in section `link`.
    fn symbol_table(&self, symbols: &[Name], link: u64) -> Part {
        let mut data = vec![0; 24];
        let mut strings = vec![0];
        for symbol in symbols {
            let name = add_string(&mut strings, &symbol.name) as u32;
            data.extend(name.to_le_bytes());
            data.extend([symbol.info, 0]);
            data.extend((symbol.section as u16).to_le_bytes());
            let part = symbol.section.checked_sub(FIRST_PART).map(|part| &self.parts[part]);
            data.extend(words(&[part.map_or(0, |part| part.address) + symbol.value, symbol.size]));
        }
        Part { link, entry: 24, ..part(".symtab", elf::SHT_SYMTAB, 0, 0, data) }
    }

    /// Returns the number of the section of that name. Creates `.text` on first use.
    fn id(&mut self, name: &str) -> usize {
        if let Some(index) = self.parts.iter().position(|part| part.name == name) {
            return index + FIRST_PART;
        }
        assert_eq!(name, ".text", "no such section");
        self.section(name, elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_EXECINSTR, &[]);
        self.id(name)
    }

    fn text(&mut self, name: &str, kind: u8, words: &[u32]) {
        let section = self.id(".text");
        let value = self.parts[section - FIRST_PART].data.len() as u64;
        self.unnamed_text(words);
        let size = words.len() as u64 * 4;
        self.symbols.push(Name { section, value, size, ..symbol(name, elf::STB_LOCAL, kind) });
    }
}

/// Returns an undefined symbol.
fn symbol(name: &str, bind: u8, kind: u8) -> Name {
    Name { name: name.to_owned(), info: bind << 4 | kind, section: 0, value: 0, size: 0 }
}

fn part(name: &str, kind: u32, flags: u32, address: u64, data: Vec<u8>) -> Part {
    Part { name: name.to_owned(), kind, flags, address, data, ..Part::default() }
}

/// Returns the string table for `symbols`.
fn strings(symbols: &[Name]) -> Vec<u8> {
    let mut strings = vec![0];
    for symbol in symbols {
        add_string(&mut strings, &symbol.name);
    }
    strings
}

/// Appends a string to `strings`. Returns its offset.
fn add_string(strings: &mut Vec<u8>, string: &str) -> u64 {
    let offset = strings.len() as u64;
    strings.extend(string.as_bytes());
    strings.push(0);
    offset
}

/// Returns a section header. The entry is name, type, flags, address, offset, size.
fn section_header(entry: [u64; 6], link: u64, entry_size: u64) -> Vec<u8> {
    let [name, kind, flags, address, offset, size] = entry;
    words(&[name | kind << 32, flags, address, offset, size, link, 8, entry_size])
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn halves(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes bytes into a file, extending it if necessary.
fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let offset = offset as usize;
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}
