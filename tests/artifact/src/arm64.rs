//! The functions of a module for arm64, decoded.

use std::collections::BTreeMap;
use std::fmt;

use object::elf;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand, SizeCode};

use crate::function::{self, Extent};
use crate::module::{Module, SymbolPlace};
use crate::violation::Violation;

/// An instruction, or a word among instructions that is not one.
#[derive(Debug)]
pub(crate) struct Code {
    /// The offset in the section.
    pub(crate) offset: u64,
    /// The bits.
    pub(crate) word: u32,
    /// The decoded instruction, if the word is one.
    pub(crate) instruction: Option<Instruction>,
}

/// A function, decoded from the bytes that its symbol covers.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    /// The symbol's name.
    pub(crate) name: &'a str,
    /// The number of its section.
    pub(crate) section: usize,
    /// Its offset in the section.
    pub(crate) start: u64,
    /// The instructions in the order of the file.
    pub(crate) code: Vec<Code>,
}

/// Decodes every function of the sections with code, as [`function::functions`] does for amd64.
/// Mapping symbols mark data within functions. The linker's own `.plt` has no symbols, and is
/// skipped. Words that do not decode are left to [`arm64_registers`](crate::arm64_registers).
pub(crate) fn functions<'a>(module: &Module<'a>) -> (Vec<Function<'a>>, Vec<Violation>) {
    let marks: Vec<_> = (0..module.sections.len()).map(|section| Marks::of(module, section)).collect();
    let (covered, mut violations) = function::covered(module, |section, start, bytes| {
        module.sections[section].name == ".plt"
            || words(bytes, start)
                .all(|(offset, word)| marks[section].is_data(offset) || word.is_some_and(is_padding))
    });
    let mut functions = Vec::new();
    for Extent { name, section, start, bytes } in covered {
        let mut code = Vec::new();
        for (offset, word) in words(bytes, start).filter(|(offset, _)| !marks[section].is_data(*offset)) {
            match word {
                Some(word) if offset.is_multiple_of(4) => {
                    code.push(Code { offset, word, instruction: decode(word) });
                }
                _ => {
                    let message = "not a whole instruction at a multiple of 4";
                    violations.push(Violation::at(module, section, offset, message).about(name));
                    break;
                }
            }
        }
        functions.push(Function { name, section, start, code });
    }
    (functions, violations)
}

/// The offsets in a section where data and code begin, from its mapping symbols `$d` and `$x`.
#[derive(Debug)]
struct Marks(BTreeMap<u64, bool>);

impl Marks {
    fn of(module: &Module<'_>, section: usize) -> Self {
        let mut marks = BTreeMap::new();
        for symbol in module.symbols.iter().filter(|symbol| symbol.place == SymbolPlace::Section(section)) {
            let mark = symbol.name.split('.').next().unwrap_or_default();
            if symbol.kind == elf::STT_NOTYPE && matches!(mark, "$d" | "$x") {
                // If in doubt, treat it as code, which is checked.
                *marks.entry(symbol.value).or_insert(true) &= mark == "$d";
            }
        }
        Self(marks)
    }

    fn is_data(&self, offset: u64) -> bool {
        self.0.range(..=offset).next_back().is_some_and(|(_, is_data)| *is_data)
    }
}

/// Returns the words of the bytes at `start` of a section, by offset. A last word that is not whole
/// is `None`.
fn words(bytes: &[u8], start: u64) -> impl Iterator<Item = (u64, Option<u32>)> {
    let offsets = (start..).step_by(4);
    offsets.zip(bytes.chunks(4)).map(|(offset, word)| (offset, word.try_into().ok().map(u32::from_le_bytes)))
}

/// Returns whether an instruction is only padding: `nop`, `udf` or `brk`.
fn is_padding(word: u32) -> bool {
    word == 0xd503_201f || word >> 16 == 0 || word & 0xffe0_001f == 0xd420_0000
}

/// Decodes a word as an instruction.
fn decode(word: u32) -> Option<Instruction> {
    let mut instruction = InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())).ok()?;
    if instruction.opcode == Opcode::MSR && matches!(instruction.operands[1], Operand::Register(..)) {
        // yaxpeax-arm 0.5.0 drops the top bit of the register number.
        instruction.operands[1] = Operand::Register(SizeCode::X, (word & 0x1f) as u16);
    }
    (instruction.opcode != Opcode::Invalid).then_some(instruction)
}

/// Writes the instruction in assembler syntax.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instruction {
            Some(instruction) => write!(f, "{instruction}"),
            None => write!(f, ".inst {:#010x}", self.word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64_registers::check;
    use crate::shared_builder::SharedBuilder;

    const NOP: u32 = 0xd503_201f;
    const RET: u32 = 0xd65f_03c0;

    /// Returns the messages for a module.
    fn messages(elf: &SharedBuilder) -> Vec<String> {
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (functions, mut violations) = functions(&module);
        violations.extend(check(&module, &functions));
        violations.into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn functions_padding_and_data_pass() {
        let mut elf = SharedBuilder::module();
        elf.mark("$x");
        elf.function("f", &[RET]);
        // nop, two words of zeros, udf #1, brk #1
        elf.unnamed_text(&[NOP, 0, 0, 1, 0xd420_0020]);
        elf.function("g", &[RET]);
        elf.data_in_text("table", &[0xffff_ffff]);
        elf.mark("$d.1");
        elf.unnamed_text(&[0xffff_ffff]);
        elf.mark("$x.2");
        elf.function("h", &[RET]);
        elf.section(".plt", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_EXECINSTR, &[0x5a; 16]);
        assert_eq!(messages(&elf), [""; 0]);

        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let names: Vec<_> = functions(&module).0.iter().map(|function| function.name).collect();
        assert_eq!(names, ["f", "g", "h"]);
    }

    #[test]
    fn code_without_a_symbol_is_found() {
        let mut elf = SharedBuilder::module();
        elf.unnamed_text(&[0x1400_0000]);
        elf.function("f", &[RET]);
        elf.mark("$d");
        elf.unnamed_text(&[0xffff_ffff]);
        elf.mark("$x");
        elf.unnamed_text(&[0xaa01_03e0, RET]);
        let expected =
            |count| format!("{count} bytes that no function's symbol covers: they cannot be checked");
        assert_eq!(messages(&elf), [expected(4), expected(12)]);
    }

    #[test]
    fn data_in_a_function_is_what_a_mapping_symbol_says() {
        let mut elf = SharedBuilder::module();
        elf.function("f", &[RET, 0x0200_0000]);
        assert_eq!(messages(&elf), ["not an instruction: .inst 0x02000000"]);
        let mut elf = SharedBuilder::module();
        elf.mark("$d");
        elf.function("f", &[0x0200_0000, 0x0200_0000]);
        elf.mark("$x");
        elf.mark("$d");
        elf.function("g", &[0x0200_0000]);
        assert_eq!(messages(&elf), ["not an instruction: .inst 0x02000000"]);
    }

    #[test]
    fn instructions_are_whole_and_aligned() {
        let mut elf = SharedBuilder::module();
        elf.section(".text", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_EXECINSTR, &[0; 2]);
        elf.function("f", &[RET, RET]);
        assert_eq!(messages(&elf), ["not a whole instruction at a multiple of 4"]);
    }
}
