//! The functions of a module, decoded.

use std::collections::BTreeMap;
use std::fmt;

use object::elf;

use crate::module::{Module, Section, SymbolPlace};
use crate::violation::Violation;

/// An instruction of a machine, or bytes among instructions that are none.
pub(crate) trait Instruction: fmt::Display + Sized {
    /// Decodes the bytes at an offset of a section.
    fn decode(bytes: &[u8], offset: u64) -> Vec<Self>;

    /// Returns the offset in the section.
    fn offset(&self) -> u64;

    /// Returns whether the instruction is only padding.
    fn is_padding(&self) -> bool;

    /// Returns the reason why a kernel module must not have the instruction, if there is one.
    fn forbidden(&self) -> Option<&'static str>;

    /// Returns the number of bytes that the instruction takes from the stack. It is negative if the
    /// instruction returns them. None if the stack or frame pointer is set to a value known only at
    /// run time.
    fn takes(&self) -> Option<i64>;

    /// Returns the depth of the frame that the instruction accesses, as far as it is known.
    fn reaches(&self) -> u64;

    /// Returns whether the CPU may continue elsewhere than at the next instruction. A call returns to
    /// it.
    fn branches(&self) -> bool;
}

/// A function, decoded from the bytes that its symbol covers.
#[derive(Debug)]
pub(crate) struct Function<'a, I> {
    /// The symbol's name.
    pub(crate) name: &'a str,
    /// The number of its section.
    pub(crate) section: usize,
    /// Its offset in the section.
    pub(crate) start: u64,
    /// The instructions in the order of the file.
    pub(crate) code: Vec<I>,
}

/// Decodes every function of the sections with code. Data among them is skipped if it has a symbol
/// (`STT_OBJECT`), or a mapping symbol. Bytes without a symbol that are not padding cannot be
/// checked, so they are violations. The linker's own `.plt` has no symbols, and is skipped.
pub(crate) fn functions<'a, I: Instruction>(module: &Module<'a>) -> (Vec<Function<'a, I>>, Vec<Violation>) {
    let mut functions = Vec::new();
    let mut violations = Vec::new();
    let sections = module.sections.iter().enumerate();
    for (index, section) in sections.filter(|(_, section)| section.is_code() && section.name != ".plt") {
        let marks = marks(module, index);
        let mut end_of_last = 0;
        let end_of_section = section.data.len() as u64;
        for (start, end, name, is_code) in
            extents(module, index).into_iter().chain([(end_of_section, end_of_section, "", false)])
        {
            let Some(code) = decode(section, &marks, start, end) else {
                violations.push(Violation::at(module, index, start, "symbol larger than its section"));
                continue;
            };
            let gap = start.saturating_sub(end_of_last);
            let padding = decode::<I>(section, &marks, end_of_last, start).unwrap_or_default();
            if !is_zero(section, end_of_last, start) && !padding.iter().all(I::is_padding) {
                let message = format!("{gap} bytes that no function's symbol covers: they cannot be checked");
                violations.push(Violation::at(module, index, end_of_last, message));
            }
            end_of_last = end_of_last.max(end);
            if is_code {
                functions.push(Function { name, section: index, start, code });
            }
        }
    }
    (functions, violations)
}

/// Returns the parts of a section that functions and data cover, in order: beginning, end, name,
/// and whether it is code. Of several names for the same bytes, one is returned.
fn extents<'a>(module: &Module<'a>, section: usize) -> Vec<(u64, u64, &'a str, bool)> {
    let mut extents: Vec<_> = module
        .symbols
        .iter()
        .filter(|symbol| symbol.place == SymbolPlace::Section(section) && symbol.size != 0)
        .filter(|symbol| matches!(symbol.kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_OBJECT))
        .map(|symbol| {
            let end = symbol.value.saturating_add(symbol.size);
            (symbol.value, end, symbol.name, symbol.kind != elf::STT_OBJECT)
        })
        .collect();
    extents.sort_unstable();
    extents.dedup_by_key(|(start, end, _, is_code)| (*start, *end, *is_code));
    extents
}

/// Returns the offsets in a section where data (true) and code (false) begin, from the mapping
/// symbols `$d` and `$x` of arm64.
fn marks(module: &Module<'_>, section: usize) -> BTreeMap<u64, bool> {
    let mut marks = BTreeMap::new();
    for symbol in module.symbols.iter().filter(|symbol| symbol.place == SymbolPlace::Section(section)) {
        let mark = symbol.name.split('.').next().unwrap_or_default();
        if symbol.kind == elf::STT_NOTYPE && matches!(mark, "$d" | "$x") {
            // If in doubt, treat it as code, which is checked.
            *marks.entry(symbol.value).or_insert(true) &= mark == "$d";
        }
    }
    marks
}

/// Decodes `start..end` of a section, without data among the code. Returns None if the section is
/// shorter.
fn decode<I: Instruction>(
    section: &Section<'_>,
    marks: &BTreeMap<u64, bool>,
    start: u64,
    end: u64,
) -> Option<Vec<I>> {
    let mut code = Vec::new();
    let mut from = start;
    let mut is_data = marks.range(..=start).next_back().is_some_and(|(_, is_data)| *is_data);
    let within = marks.iter().filter(|(at, _)| (start + 1..end).contains(at));
    for (to, next) in within.map(|(at, is_data)| (*at, *is_data)).chain([(end, false)]) {
        let bytes = slice(section, from, to)?;
        if !is_data {
            code.extend(I::decode(bytes, from));
        }
        (from, is_data) = (to, next);
    }
    Some(code)
}

fn is_zero(section: &Section<'_>, start: u64, end: u64) -> bool {
    slice(section, start, end).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// Returns the bytes `start..end` of a section.
fn slice<'a>(section: &Section<'a>, start: u64, end: u64) -> Option<&'a [u8]> {
    section.data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}
