//! Registers that a kernel for arm64 cannot use freely, and instructions that some CPUs lack.
//! Floating-point and vector registers hold the process's last results, `tpidr_el0` points to its
//! threads' storage, and `x18` to the `struct pcpu`.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

use crate::arm64::{Code, Function};
use crate::module::Module;
use crate::violation::Violation;

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

/// Checks every instruction of every function.
pub(crate) fn check(module: &Module<'_>, functions: &[Function<'_>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for function in functions {
        for code in &function.code {
            if let Some(what) = forbidden(code) {
                let message = format!("{what}: {code}");
                let violation = Violation::at(module, function.section, code.offset, message);
                violations.push(violation.about(function.name));
            }
        }
    }
    violations
}

/// Returns the reason why a kernel module must not use an instruction, if there is one.
fn forbidden(code: &Code) -> Option<&'static str> {
    let listed = FORBIDDEN.iter().find(|(mask, bits, _)| code.word & mask == *bits);
    if let Some((_, _, what)) = listed {
        return Some(what);
    }
    let Some(instruction) = &code.instruction else { return Some("not an instruction") };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64;
    use crate::shared_builder::SharedBuilder;

    /// Returns the messages for a function of one instruction.
    fn of(word: u32) -> Vec<String> {
        let mut elf = SharedBuilder::module();
        elf.function("f", &[word, 0xd65f_03c0]);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (functions, uncovered) = arm64::functions(&module);
        assert_eq!(uncovered, []);
        check(&module, &functions).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn every_unit_is_found() {
        let register = "floating-point or vector register";
        let unit = "floating-point or vector instruction";
        let threads = "thread-local access";
        let atomic = "atomic instruction";
        let cases = [
            ("ldr q0, [x0]", 0x3dc0_0000, register),
            ("ldr d0, 8", 0x5c00_0040, register),
            ("stp d8, d9, [sp, #-16]!", 0x6dbf_27e8, register),
            ("ld1 {v0.16b}, [x1]", 0x4c40_7020, register),
            ("mrs x0, fpcr", 0xd53b_4400, register),
            ("msr fpsr, x0", 0xd51b_4420, register),
            ("fmov d0, x0", 0x9e67_0000, unit),
            ("fadd d0, d1, d2", 0x1e62_2820, unit),
            ("movi v0.2d, #0", 0x6f00_e400, unit),
            ("umov w0, v0.b[0]", 0x0e01_3c00, unit),
            ("aese v0.16b, v1.16b", 0x4e28_4820, unit),
            ("ptrue p0.b", 0x2518_e3e0, unit),
            ("ld1b {z0.b}, p0/z, [x0]", 0xa400_a000, unit),
            ("fmopa za0.s, p0/m, p0/m, z0.s, z0.s", 0x8080_0000, unit),
            ("mrs x0, tpidr_el0", 0xd53b_d040, threads),
            ("msr tpidr_el0, x0", 0xd51b_d040, threads),
            ("mrs x0, tpidrro_el0", 0xd53b_d060, threads),
            ("ldadd w0, w1, [x2]", 0xb820_0041, atomic),
            ("ldclral x0, x1, [x2]", 0xf8e0_1041, atomic),
            ("swpa x0, x1, [x2]", 0xf8a0_8041, atomic),
            ("ldaprb w0, [x1]", 0x38bf_c020, atomic),
            ("cas w0, w1, [x2]", 0x88a0_7c41, atomic),
            ("casalb w0, w1, [x2]", 0x08e0_fc41, atomic),
            ("caspal x0, x1, x2, x3, [x4]", 0x4860_fc82, atomic),
        ];
        for (text, word, expected) in cases {
            let found = of(word);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_a_kernel_does_use_passes() {
        let cases = [
            ("mrs x0, tpidr_el1", 0xd538_d080),
            ("mrs x0, daif", 0xd53b_4220),
            ("ldaxr x0, [x1]", 0xc85f_fc20),
            ("stlxr w0, x1, [x2]", 0xc800_fc41),
            ("ldxp x0, x1, [x2]", 0xc87f_0440),
            ("stlr x0, [x1]", 0xc89f_fc20),
            ("dmb ish", 0xd503_3bbf),
            ("prfm pldl1keep, [x0]", 0xf980_0000),
            ("paciasp", 0xd503_233f),
            ("bti c", 0xd503_245f),
            ("brk #1", 0xd420_0020),
            ("udf #0", 0),
            ("umulh x0, x1, x2", 0x9bc2_7c20),
            ("ldr x0, 8", 0x5800_0040),
        ];
        for (text, word) in cases {
            assert_eq!(of(word), [""; 0], "{text}");
        }
    }

    #[test]
    fn the_pcpu_is_read() {
        let cases = [
            ("ldr x0, [x18]", 0xf940_0240),
            ("ldr w0, [x18, #8]", 0xb940_0a40),
            ("str x0, [x18, #8]", 0xf900_0640),
            ("ldur x0, [x18, #-8]", 0xf85f_8240),
            ("ldp x0, x1, [x18]", 0xa940_0640),
            ("ldr x0, [x18, x1]", 0xf861_6a40),
            ("ldxr x0, [x18]", 0xc85f_7e40),
            ("mov x0, x18", 0xaa12_03e0),
            ("add x0, x18, #16", 0x9100_4240),
            ("add x0, x1, x18", 0x8b12_0020),
        ];
        for (text, word) in cases {
            assert_eq!(of(word), [""; 0], "{text}");
        }
    }

    #[test]
    fn other_use_of_x18_is_found() {
        let cases = [
            ("mov x18, x0", 0xaa00_03f2),
            ("mov x18, x18", 0xaa12_03f2),
            ("mov w18, #1", 0x5280_0032),
            ("add x18, x18, #1", 0x9100_0652),
            ("ldr x18, [x0]", 0xf940_0012),
            ("ldr w18, [x18]", 0xb940_0252),
            ("ldp x17, x18, [sp]", 0xa940_4bf1),
            ("ldr x0, [x18, #8]!", 0xf840_8e40),
            ("ldr x0, [x18], #8", 0xf840_8640),
            ("ldr x0, [x1, x18]", 0xf872_6820),
            ("str x18, [x0]", 0xf900_0012),
            ("stxr w18, x0, [x1]", 0xc812_7c20),
            ("stxr w0, x18, [x1]", 0xc800_7c32),
            ("mrs x18, daif", 0xd53b_4232),
            ("msr daif, x18", 0xd51b_4232),
            ("csel x18, x0, x1, eq", 0x9a81_0012),
            ("madd x0, x1, x2, x18", 0x9b02_4820),
            ("ror x18, x0, #1", 0x93c0_0412),
            ("adr x18, #0", 0x1000_0012),
            ("blr x18", 0xd63f_0240),
            ("cbz x18, #0", 0xb400_0012),
            ("sub x0, x18, #16", 0xd100_4240),
            ("orr x0, x1, x18", 0xaa12_0020),
        ];
        for (text, word) in cases {
            let found = of(word);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with("x18 is for reading"), "{text}: {found:?}");
        }
    }
}
