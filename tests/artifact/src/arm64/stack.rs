//! The effect of an instruction on the stack.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

/// The register numbers of the frame pointer, and of the stack pointer where an operand can be one.
const FP: u16 = 29;
const SP: u16 = 31;

/// Returns the number of bytes that an instruction takes from the stack. None if `sp` is set to a
/// value known only at run time. The position of the frame pointer in the frame is not tracked: a
/// subtraction from it counts in full.
pub(crate) fn takes(instruction: &Instruction) -> Option<i64> {
    let operands = &instruction.operands;
    for operand in operands {
        match *operand {
            Operand::RegPreIndex(SP, by, true) | Operand::RegPostIndex(SP, by) => {
                return Some(-i64::from(by));
            }
            Operand::RegPostIndexReg(SP, _) => return None,
            _ => {}
        }
    }
    if !matches!(operands[0], Operand::RegisterOrSP(_, SP)) {
        return Some(0);
    }
    let from = |register| operands[1] == Operand::RegisterOrSP(SizeCode::X, register);
    let known = operands[0] == Operand::RegisterOrSP(SizeCode::X, SP) && (from(SP) || from(FP));
    match instruction.opcode {
        Opcode::ADD if known => Some(-immediate(&operands[2])?),
        Opcode::SUB if known => immediate(&operands[2]),
        _ => None,
    }
}

/// Returns the number in the last operand of an `add` or `sub`.
fn immediate(operand: &Operand) -> Option<i64> {
    match *operand {
        Operand::Immediate(value) => Some(value.into()),
        Operand::ImmShift(value, by) => Some(i64::from(value) << by),
        _ => None,
    }
}

/// Returns the depth of the frame that an instruction accesses, as far as it is known: an interrupt
/// overwrites all below `sp`.
pub(crate) fn reaches(instruction: &Instruction) -> u64 {
    let is_below = |operand: &Operand| matches!(*operand, Operand::RegPreIndex(SP, by, false) if by < 0);
    if instruction.operands.iter().any(is_below) { u64::MAX } else { 0 }
}
