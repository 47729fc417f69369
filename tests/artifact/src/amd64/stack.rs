//! The effect of an instruction on the stack. `%rbp` points to the frame in all functions.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// The largest alignment that a function may give its stack. Callers keep to it anyway.
const ALIGNMENT: i64 = 16;

/// The depth that `%rbp` points to: that of the caller's `%rbp`, which is pushed first.
const FRAME_POINTER: u64 = 8;

/// Returns the number of bytes that an instruction takes from the stack. None if `%rsp` is set to a
/// value known only at run time, or `%rbp` to another than `%rsp`.
pub(crate) fn takes(instruction: &Instruction) -> Option<i64> {
    let to = instruction.op0_register();
    let immediate = instruction.try_immediate(1).ok().map(u64::cast_signed);
    match instruction.mnemonic() {
        // The callee returns the bytes of a call.
        Mnemonic::Call | Mnemonic::Leave => Some(0),
        Mnemonic::Enter => None,
        Mnemonic::Pop if to == Register::RSP => None,
        _ if instruction.is_stack_instruction() => Some(-i64::from(instruction.stack_pointer_increment())),
        Mnemonic::Sub if to == Register::RSP => immediate,
        Mnemonic::Add if to == Register::RSP => immediate.map(|by| -by),
        // The stack is aligned to a word already.
        Mnemonic::And if to == Register::RSP => {
            immediate.filter(|mask| (-ALIGNMENT..0).contains(mask)).map(|mask| (-mask - 8).max(0))
        }
        Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => {
            match (to, instruction.op1_register()) {
                (Register::RSP, Register::RBP) | (Register::RBP, Register::RSP) => Some(0),
                _ => other(instruction),
            }
        }
        Mnemonic::Lea if to == Register::RSP && instruction.memory_index() == Register::None => {
            match instruction.memory_base() {
                Register::RSP => Some(-displacement(instruction)),
                Register::RBP => Some(-displacement(instruction).min(0)),
                _ => None,
            }
        }
        _ => other(instruction),
    }
}

/// Returns zero for an instruction that sets neither the stack pointer nor the frame pointer.
fn other(instruction: &Instruction) -> Option<i64> {
    let mut factory = InstructionInfoFactory::new();
    let sets = factory.info(instruction).used_registers().iter().any(|used| {
        matches!(used.register().full_register(), Register::RSP | Register::RBP)
            && !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead)
    });
    (!sets).then_some(0)
}

/// Returns the depth of the frame that an instruction accesses through `%rsp` or `%rbp`. An
/// interrupt overwrites all below `%rsp`.
pub(crate) fn reaches(instruction: &Instruction) -> u64 {
    let accesses = !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop)
        && instruction.op_kinds().any(|kind| kind == OpKind::Memory);
    let displacement = displacement(instruction);
    if !accesses || displacement >= 0 {
        return 0;
    }
    match (instruction.memory_base(), instruction.memory_index()) {
        (Register::RSP, _) => u64::MAX,
        (Register::RBP, Register::None) => FRAME_POINTER + displacement.unsigned_abs(),
        _ => 0,
    }
}

fn displacement(instruction: &Instruction) -> i64 {
    instruction.memory_displacement64().cast_signed()
}
