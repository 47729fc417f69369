//! The functions of a module, decoded.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use object::elf;

use crate::module::{Module, Section, SymbolPlace};
use crate::violation::Violation;

/// A function, decoded from the bytes that its symbol covers.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    /// The symbol's name.
    pub(crate) name: &'a str,
    /// The number of its section.
    pub(crate) section: usize,
    /// Its offset in the section.
    pub(crate) start: u64,
    /// The instructions in the order of the file. Their addresses are offsets in the section.
    pub(crate) instructions: Vec<Instruction>,
    /// For each instruction that jumps within the function, the number of the target instruction.
    pub(crate) targets: Vec<Option<usize>>,
}

/// The bytes that a function's symbol covers.
#[derive(Debug)]
pub(crate) struct Extent<'a> {
    /// The symbol's name.
    pub(crate) name: &'a str,
    /// The number of its section.
    pub(crate) section: usize,
    /// Its offset in the section.
    pub(crate) start: u64,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

/// Decodes every function of the sections with code.
pub(crate) fn functions<'a>(module: &Module<'a>) -> (Vec<Function<'a>>, Vec<Violation>) {
    let (covered, mut violations) =
        covered(module, |_, start, bytes| decode(bytes, start).iter().all(is_padding));
    let mut functions = Vec::new();
    for Extent { name, section, start, bytes } in covered {
        let instructions = decode(bytes, start);
        if let Some(bad) = instructions.iter().find(|instruction| instruction.is_invalid()) {
            violations.push(Violation::at(module, section, bad.ip(), "not an instruction"));
        }
        let targets = instructions.iter().map(|jump| target(module, section, jump, &instructions)).collect();
        functions.push(Function { name, section, start, instructions, targets });
    }
    (functions, violations)
}

/// Returns the functions of the sections with code. Data among them is skipped if it has a symbol
/// (`STT_OBJECT`). Bytes without a symbol that are not padding cannot be checked, so they are
/// violations. Padding is zeros, and the bytes that `is_padding` accepts, given the number of a
/// section, an offset and the bytes.
pub(crate) fn covered<'a>(
    module: &Module<'a>,
    is_padding: impl Fn(usize, u64, &[u8]) -> bool,
) -> (Vec<Extent<'a>>, Vec<Violation>) {
    let gap = |index: usize, start, end| {
        let bytes = slice(&module.sections[index], start, end)?;
        if bytes.iter().all(|byte| *byte == 0) || is_padding(index, start, bytes) {
            return None;
        }
        let message =
            format!("{} bytes that no function's symbol covers: they cannot be checked", bytes.len());
        Some(Violation::at(module, index, start, message))
    };
    let mut functions = Vec::new();
    let mut violations = Vec::new();
    for (index, section) in module.sections.iter().enumerate().filter(|(_, section)| section.is_code()) {
        let mut end_of_last = 0;
        for (start, end, name, is_code) in extents(module, index) {
            let Some(bytes) = slice(section, start, end) else {
                violations.push(Violation::at(module, index, start, "symbol larger than its section"));
                continue;
            };
            violations.extend(gap(index, end_of_last, start));
            end_of_last = end_of_last.max(end);
            if is_code {
                functions.push(Extent { name, section: index, start, bytes });
            }
        }
        violations.extend(gap(index, end_of_last, section.data.len() as u64));
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

/// Returns the bytes `start..end` of a section.
fn slice<'a>(section: &Section<'a>, start: u64, end: u64) -> Option<&'a [u8]> {
    section.data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Returns whether an instruction is only padding.
pub(crate) fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) || instruction.code() == Code::Fnop
}

/// Decodes bytes at an offset, up to the first invalid instruction, which ends the list.
fn decode(bytes: &[u8], offset: u64) -> Vec<Instruction> {
    let mut decoder = Decoder::with_ip(64, bytes, offset, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        instructions.push(instruction);
        if instruction.is_invalid() {
            break;
        }
    }
    instructions
}

/// Returns the target of a jump within its own function. A relocation of the jump determines the
/// target, not its bytes.
fn target(module: &Module<'_>, section: usize, jump: &Instruction, all: &[Instruction]) -> Option<usize> {
    if !matches!(jump.flow_control(), FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch) {
        return None;
    }
    let offset = match module.sections[section].relocation_within(jump.ip(), jump.next_ip()) {
        None => jump.near_branch_target(),
        Some(relocation) => {
            let symbol = module.symbols.get(relocation.symbol)?;
            if symbol.place != SymbolPlace::Section(section) {
                return None;
            }
            let displacement = symbol.value.wrapping_add_signed(relocation.addend?);
            displacement.wrapping_sub(relocation.offset).wrapping_add(jump.next_ip())
        }
    };
    all.binary_search_by_key(&offset, Instruction::ip).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::violation;

    fn messages(elf: &ElfBuilder) -> Vec<String> {
        violation::messages(&elf.build(), |module| functions(module).1)
    }

    #[test]
    fn functions_padding_and_named_data_pass() {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0xc3]);
        elf.unnamed_text(&[0x0f, 0x1f, 0x40, 0x00, 0x90]);
        elf.function("g", [0xc3]);
        elf.unnamed_text(&[0xcc; 3]);
        elf.data_in_text("table", &[0x06, 0x07, 0xff]);
        elf.unnamed_text(&[0; 5]);
        assert!(messages(&elf).is_empty());

        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let names: Vec<_> = functions(&module).0.iter().map(|function| function.name).collect();
        assert_eq!(names, ["f", "g"]);
    }

    #[test]
    fn code_without_a_symbol_is_found() {
        let mut elf = ElfBuilder::module();
        elf.unnamed_text(&[0x31, 0xc0, 0xc3]);
        elf.function("f", [0xc3]);
        elf.unnamed_text(&[0xc3]);
        let expected =
            |count| format!("{count} bytes that no function's symbol covers: they cannot be checked");
        assert_eq!(messages(&elf), [expected(3), expected(1)]);
    }

    #[test]
    fn what_does_not_decode_is_found() {
        let mut elf = ElfBuilder::module();
        // push %es, which is invalid in 64-bit mode.
        elf.function("f", [0x90, 0x06, 0xc3]);
        assert_eq!(messages(&elf), ["not an instruction"]);
    }

    #[test]
    fn a_function_lies_within_its_section() {
        let mut elf = ElfBuilder::module();
        elf.oversized_function("f");
        assert_eq!(messages(&elf), ["symbol larger than its section"]);
    }

    #[test]
    fn a_relocated_jump_leads_where_the_relocation_says() {
        let mut elf = ElfBuilder::module();
        // f: jmp g; nop; ret. The bytes alone would lead to the nop.
        elf.function("f", [0xe9, 0, 0, 0, 0, 0x90, 0xc3]);
        elf.function("g", [0xc3]);
        elf.relocate(".text", 1, elf::R_X86_64_PLT32, "g", -4);
        // h: jmp 3f; nop; 3: ret. Without a relocation, the target is in h itself.
        elf.function("h", [0xeb, 0x01, 0x90, 0xc3]);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (found, _) = functions(&module);
        assert_eq!(found[0].targets, [None, None, None]);
        assert_eq!(found[2].targets, [Some(2), None, None]);
    }

    #[test]
    fn a_relocated_jump_within_its_function_is_followed() {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0xe9, 0, 0, 0, 0, 0x90, 0xc3]);
        elf.relocate(".text", 1, elf::R_X86_64_PC32, "f", 6 - 4);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        assert_eq!(functions(&module).0[0].targets[0], Some(2));
    }
}
