//! Registers that a kernel for arm64 cannot use freely, and instructions that some CPUs lack.
//! Floating-point and vector registers hold the process's last results, `tpidr_el0` points to its
//! threads' storage, and `x18` to the `struct pcpu`.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

/// The number of the register that points to the CPU's `struct pcpu`.
const PCPU: u16 = 18;

/// The number of the zero register, or of the stack pointer.
const ZERO: u16 = 31;

/// Encodings that a module must not have: the mask, the bits under it, and the reason. They are in
/// the order of the Arm Architecture Reference Manual, C4.1.
const FORBIDDEN: [(u32, u32, &str); 9] = [
    (0x9e00_0000, 0x8000_0000, "floating-point or vector instruction"), // SME
    (0x1e00_0000, 0x0400_0000, "floating-point or vector instruction"), // SVE
    (0x0e00_0000, 0x0e00_0000, "floating-point or vector instruction"),
    (0x0e00_0000, 0x0c00_0000, "floating-point or vector register"), // a load or store
    (0xffdf_ffc0, 0xd51b_4400, "floating-point or vector register"), // fpcr, fpsr
    (0xffdf_ffc0, 0xd51b_d040, "thread-local access through tpidr_el0"),
    (0x3f20_0c00, 0x3820_0000, "atomic instruction that ARMv8.0 does not have"), // ldadd, swp, ldapr
    (0x3fa0_7c00, 0x08a0_7c00, "atomic instruction that ARMv8.0 does not have"), // cas
    (0xbfa0_7c00, 0x0820_7c00, "atomic instruction that ARMv8.0 does not have"), // casp
];

/// Returns the reason why a kernel module must not use an instruction, if there is one.
pub(crate) fn forbidden(word: u32, instruction: Option<&Instruction>) -> Option<&'static str> {
    let listed = FORBIDDEN.iter().find(|(mask, bits, _)| word & mask == *bits);
    if let Some((_, _, what)) = listed {
        return Some(what);
    }
    let Some(instruction) = instruction else { return Some("not an instruction") };
    let used = instruction.operands.iter().any(|operand| names(operand, PCPU));
    (used && !reads_pcpu(instruction)).then_some("x18 is for reading the struct pcpu that it points to")
}

/// Returns whether an operand involves a general-purpose register.
fn names(operand: &Operand, register: u16) -> bool {
    match *operand {
        Operand::Register(_, named)
        | Operand::RegisterOrSP(_, named)
        | Operand::RegShift(_, _, _, named)
        | Operand::RegPreIndex(named, _, _)
        | Operand::RegPostIndex(named, _) => named == register,
        Operand::RegRegOffset(base, index, ..) | Operand::RegPostIndexReg(base, index) => {
            base == register || index == register
        }
        Operand::RegisterPair(_, first) => first == register || first + 1 == register,
        _ => false,
    }
}

/// Returns whether an instruction uses `x18` only as an address, or only to copy it or add to it.
fn reads_pcpu(instruction: &Instruction) -> bool {
    let operands = &instruction.operands;
    let copies = match instruction.opcode {
        Opcode::ADD => true,
        Opcode::ORR => operands[1] == Operand::Register(SizeCode::X, ZERO),
        _ => false,
    };
    if copies {
        return !names(&operands[0], PCPU);
    }
    operands.iter().filter(|operand| names(operand, PCPU)).all(|operand| match operand {
        Operand::RegPreIndex(_, _, writes_back) => !writes_back,
        Operand::RegRegOffset(_, index, ..) => *index != PCPU,
        _ => false,
    })
}
