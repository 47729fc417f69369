//! Decoded instructions.

use std::fmt;

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{self, InstDecoder, Opcode, Operand, SizeCode};

use super::{registers, stack};
use crate::function::Instruction;

/// An instruction of arm64, or a word among instructions that is not one.
#[derive(Debug)]
pub(crate) struct Arm64 {
    offset: u64,
    word: u32,
    decoded: Option<a64::Instruction>,
}

impl Instruction for Arm64 {
    fn decode(bytes: &[u8], offset: u64) -> Vec<Self> {
        let of = |(offset, bytes): (u64, &[u8])| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            let word = u32::from_le_bytes(word);
            let is_whole = bytes.len() == 4 && offset.is_multiple_of(4);
            Self { offset, word, decoded: decode(word).filter(|_| is_whole) }
        };
        (offset..).step_by(4).zip(bytes.chunks(4)).map(of).collect()
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    /// Padding is `nop`, `udf` or `brk`.
    fn is_padding(&self) -> bool {
        self.word == 0xd503_201f || self.word >> 16 == 0 || self.word & 0xffe0_001f == 0xd420_0000
    }

    fn forbidden(&self) -> Option<&'static str> {
        registers::forbidden(self.word, self.decoded.as_ref())
    }

    fn takes(&self) -> Option<i64> {
        self.decoded.as_ref().map_or(Some(0), stack::takes)
    }

    fn reaches(&self) -> u64 {
        self.decoded.as_ref().map_or(0, stack::reaches)
    }

    /// No run has two instructions: calls have their arguments in the frame.
    fn branches(&self) -> bool {
        true
    }
}

/// Decodes a word as an instruction.
fn decode(word: u32) -> Option<a64::Instruction> {
    let mut instruction = InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())).ok()?;
    if instruction.opcode == Opcode::MSR && matches!(instruction.operands[1], Operand::Register(..)) {
        // yaxpeax-arm 0.5.0 drops the top bit of the register number.
        instruction.operands[1] = Operand::Register(SizeCode::X, (word & 0x1f) as u16);
    }
    (instruction.opcode != Opcode::Invalid).then_some(instruction)
}

/// Writes the instruction in assembler syntax.
impl fmt::Display for Arm64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decoded {
            Some(instruction) => write!(f, "{instruction}"),
            None => write!(f, ".inst {:#010x}", self.word),
        }
    }
}
