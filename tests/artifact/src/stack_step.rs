//! The effect of one instruction on the stack pointer.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// The largest alignment that a function may give its stack. Callers keep to it anyway.
const ALIGNMENT: i64 = 16;

/// The stack pointer before an instruction, in bytes below its value at function entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    /// The depth of `%rsp`.
    pub(crate) stack: i64,
    /// The depth of `%rbp`, while it points to the frame.
    pub(crate) frame: Option<i64>,
}

/// An error: the stack pointer is set to a value known only at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dynamic;

impl Depth {
    /// Returns the depth after `instruction`. A call returns with the stack unchanged.
    pub(crate) fn after(
        mut self,
        factory: &mut InstructionInfoFactory,
        instruction: &Instruction,
    ) -> Result<Self, Dynamic> {
        let to = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Leave => {
                self.stack = self.frame.ok_or(Dynamic)? - 8;
                self.frame = None;
                return Ok(self);
            }
            Mnemonic::Enter => return Err(Dynamic),
            Mnemonic::Call => return Ok(self),
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::And if to == Register::RSP => {
                let by = immediate(instruction).ok_or(Dynamic)?;
                self.stack += match instruction.mnemonic() {
                    Mnemonic::Add => -by,
                    Mnemonic::Sub => by,
                    // The stack is aligned to a word already.
                    _ if (-ALIGNMENT..0).contains(&by) => (-by - 8).max(0),
                    _ => return Err(Dynamic),
                };
                return Ok(self);
            }
            Mnemonic::Mov | Mnemonic::Lea if matches!(to, Register::RSP | Register::RBP) => {
                let depth = self.pointed_to(instruction);
                if to == Register::RBP {
                    self.frame = depth;
                } else {
                    self.stack = depth.ok_or(Dynamic)?;
                }
                return Ok(self);
            }
            _ => {}
        }
        let pushes_or_pops = instruction.is_stack_instruction();
        if pushes_or_pops {
            self.stack -= i64::from(instruction.stack_pointer_increment());
            if to == Register::RSP && instruction.mnemonic() == Mnemonic::Pop {
                return Err(Dynamic);
            }
        }
        for used in factory.info(instruction).used_registers() {
            let written = matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            match used.register().full_register() {
                Register::RBP if written => self.frame = None,
                Register::RSP if written && !pushes_or_pops => return Err(Dynamic),
                _ => {}
            }
        }
        Ok(self)
    }

    /// Returns the depth that a `mov` or `lea` gives its destination, if it points to the stack.
    fn pointed_to(&self, instruction: &Instruction) -> Option<i64> {
        let (base, displacement) = match instruction.op1_kind() {
            OpKind::Register => (instruction.op1_register(), 0),
            OpKind::Memory
                if instruction.mnemonic() == Mnemonic::Lea
                    && instruction.memory_index() == Register::None =>
            {
                (instruction.memory_base(), instruction.memory_displacement64().cast_signed())
            }
            _ => return None,
        };
        Some(self.of(base)? - displacement)
    }

    /// Returns the depth of a register, if it points to the stack.
    fn of(&self, register: Register) -> Option<i64> {
        match register {
            Register::RSP => Some(self.stack),
            Register::RBP => self.frame,
            _ => None,
        }
    }

    /// Returns whether `instruction` accesses memory below the stack pointer, which an interrupt
    /// overwrites.
    pub(crate) fn is_below(&self, instruction: &Instruction) -> bool {
        let accesses = !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop)
            && instruction.op_kinds().any(|kind| kind == OpKind::Memory);
        if !accesses {
            return false;
        }
        let displacement = instruction.memory_displacement64().cast_signed();
        match instruction.memory_base() {
            Register::RSP => displacement < 0,
            Register::RBP if instruction.memory_index() == Register::None => {
                self.frame.is_some_and(|frame| frame - displacement > self.stack)
            }
            _ => false,
        }
    }
}

/// Returns the second operand, if it is an immediate.
fn immediate(instruction: &Instruction) -> Option<i64> {
    instruction.try_immediate(1).ok().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    const FRAMED: Depth = Depth { stack: 40, frame: Some(8) };

    fn decode(code: &[u8]) -> Instruction {
        Decoder::new(64, code, DecoderOptions::NONE).decode()
    }

    fn after(code: &[u8]) -> Result<Depth, Dynamic> {
        FRAMED.after(&mut InstructionInfoFactory::new(), &decode(code))
    }

    #[test]
    fn static_changes_are_followed() {
        let cases: [(&str, &[u8], i64, Option<i64>); 16] = [
            ("push %rax", &[0x50], 48, Some(8)),
            ("push $1", &[0x6a, 0x01], 48, Some(8)),
            ("pushf", &[0x9c], 48, Some(8)),
            ("pop %rax", &[0x58], 32, Some(8)),
            ("pop %rbp", &[0x5d], 32, None),
            ("sub $32,%rsp", &[0x48, 0x83, 0xec, 0x20], 72, Some(8)),
            ("sub $-128,%rsp", &[0x48, 0x83, 0xec, 0x80], -88, Some(8)),
            ("add $32,%rsp", &[0x48, 0x83, 0xc4, 0x20], 8, Some(8)),
            ("add $-128,%rsp", &[0x48, 0x83, 0xc4, 0x80], 168, Some(8)),
            ("and $-16,%rsp", &[0x48, 0x83, 0xe4, 0xf0], 48, Some(8)),
            ("lea -24(%rsp),%rsp", &[0x48, 0x8d, 0x64, 0x24, 0xe8], 64, Some(8)),
            ("lea -16(%rbp),%rsp", &[0x48, 0x8d, 0x65, 0xf0], 24, Some(8)),
            ("mov %rsp,%rbp", &[0x48, 0x89, 0xe5], 40, Some(40)),
            ("mov %rbp,%rsp", &[0x48, 0x89, 0xec], 8, Some(8)),
            ("mov %rdi,%rbp", &[0x48, 0x89, 0xfd], 40, None),
            ("leave", &[0xc9], 0, None),
        ];
        for (text, code, stack, frame) in cases {
            assert_eq!(after(code), Ok(Depth { stack, frame }), "{text}");
        }
        let call = [0xe8, 0, 0, 0, 0];
        assert_eq!(after(&call), Ok(FRAMED));
        assert_eq!(after(&[0x31, 0xed]), Ok(Depth { stack: 40, frame: None }), "xor %ebp,%ebp");
    }

    #[test]
    fn dynamic_changes_are_refused() {
        let cases: [(&str, &[u8]); 8] = [
            ("sub %rax,%rsp", &[0x48, 0x29, 0xc4]),
            ("and $-32,%rsp", &[0x48, 0x83, 0xe4, 0xe0]),
            ("and %rax,%rsp", &[0x48, 0x21, 0xc4]),
            ("mov %rax,%rsp", &[0x48, 0x89, 0xc4]),
            ("lea (%rsp,%rax),%rsp", &[0x48, 0x8d, 0x24, 0x04]),
            ("xchg %rax,%rsp", &[0x48, 0x94]),
            ("pop %rsp", &[0x5c]),
            ("enter $16,$0", &[0xc8, 0x10, 0x00, 0x00]),
        ];
        for (text, code) in cases {
            assert_eq!(after(code), Err(Dynamic), "{text}");
        }
    }

    #[test]
    fn the_red_zone_is_what_lies_below() {
        let cases: [(&str, &[u8], bool); 7] = [
            ("mov %rdi,-8(%rsp)", &[0x48, 0x89, 0x7c, 0x24, 0xf8], true),
            ("mov %rdi,(%rsp)", &[0x48, 0x89, 0x3c, 0x24], false),
            ("mov %rdi,-32(%rbp)", &[0x48, 0x89, 0x7d, 0xe0], false),
            ("mov %rdi,-40(%rbp)", &[0x48, 0x89, 0x7d, 0xd8], true),
            ("mov %rdi,16(%rbp)", &[0x48, 0x89, 0x7d, 0x10], false),
            ("lea -64(%rsp),%rax", &[0x48, 0x8d, 0x44, 0x24, 0xc0], false),
            ("nopw -8(%rsp)", &[0x66, 0x0f, 0x1f, 0x44, 0x24, 0xf8], false),
        ];
        for (text, code, expected) in cases {
            assert_eq!(FRAMED.is_below(&decode(code)), expected, "{text}");
        }
        let unknown = Depth { stack: 40, frame: None };
        assert!(!unknown.is_below(&decode(&[0x48, 0x89, 0x7d, 0xd8])), "%rbp may hold anything");
    }
}
