//! Decoded instructions.

use std::fmt;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Formatter, GasFormatter, Mnemonic};

use super::{registers, stack};
use crate::function::Instruction;

/// An instruction of amd64.
#[derive(Debug)]
pub(crate) struct Amd64(iced_x86::Instruction);

impl Instruction for Amd64 {
    fn decode(bytes: &[u8], offset: u64) -> Vec<Self> {
        Decoder::with_ip(64, bytes, offset, DecoderOptions::NONE).into_iter().map(Self).collect()
    }

    fn offset(&self) -> u64 {
        self.0.ip()
    }

    fn is_padding(&self) -> bool {
        matches!(self.0.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) || self.0.code() == Code::Fnop
    }

    fn forbidden(&self) -> Option<&'static str> {
        registers::forbidden(&self.0)
    }

    fn takes(&self) -> Option<i64> {
        stack::takes(&self.0)
    }

    fn reaches(&self) -> u64 {
        stack::reaches(&self.0)
    }

    fn branches(&self) -> bool {
        use FlowControl::{Call, IndirectCall, Next};
        !matches!(self.0.flow_control(), Next | Call | IndirectCall)
    }
}

/// Writes the instruction in assembler syntax.
impl fmt::Display for Amd64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        GasFormatter::new().format(&self.0, &mut text);
        f.write_str(&text)
    }
}
