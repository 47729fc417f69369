//! Stack frames of functions for arm64: upper bounds of their sizes, and accesses below them.

use yaxpeax_arm::armv8::a64::{Instruction, Opcode, Operand, SizeCode};

use crate::arm64::Function;
use crate::module::Module;
use crate::stack::Frame;
use crate::violation::Violation;

/// The register numbers of the frame pointer, and of the stack pointer where an operand can be one.
const FP: u16 = 29;
const SP: u16 = 31;

/// The effect of an instruction on the stack pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No relevant effect.
    None,
    /// The addition of a number.
    Moves(i64),
    /// A change to a value known only at run time.
    Dynamic,
    /// An access to memory below the stack pointer, which an interrupt overwrites.
    Below,
}

/// Measures the frame of every function. Checks that it is not over `max_frame`, that its size is
/// fixed, and that no access goes below it.
///
/// The result is the sum of all subtractions from the stack pointer, whatever the path through the
/// function. That is an upper bound of the frame: additions in between are not taken into account.
/// A loop that takes more each time would break the bound, but compilers use a register for that,
/// which is found.
pub(crate) fn check(
    module: &Module<'_>,
    functions: &[Function<'_>],
    max_frame: u64,
) -> (Vec<Frame>, Vec<Violation>) {
    let mut frames = Vec::new();
    let mut violations = Vec::new();
    for function in functions {
        let mut wrong = |offset, message: String| {
            let violation = Violation::at(module, function.section, offset, message);
            violations.push(violation.about(function.name));
        };
        let mut bytes = 0;
        for code in &function.code {
            match code.instruction.as_ref().map_or(Step::None, step) {
                Step::Moves(by) if by < 0 => bytes += by.unsigned_abs(),
                Step::Moves(_) | Step::None => {}
                Step::Dynamic => {
                    wrong(
                        code.offset,
                        format!("stack pointer set to what is known at run time only: {code}"),
                    );
                }
                Step::Below => wrong(code.offset, format!("access below the stack pointer: {code}")),
            }
        }
        if bytes > max_frame {
            wrong(function.start, format!("stack frame of {bytes} bytes, over {max_frame}"));
        }
        frames.push(Frame {
            bytes,
            function: function.name.to_owned(),
            section: module.sections[function.section].name.to_owned(),
            offset: function.start,
        });
    }
    (frames, violations)
}

/// Returns the effect of an instruction on the stack pointer. The position of the frame pointer in
/// the frame is not tracked: a subtraction from it counts in full.
fn step(instruction: &Instruction) -> Step {
    let operands = &instruction.operands;
    for operand in operands {
        match *operand {
            Operand::RegPreIndex(SP, by, true) | Operand::RegPostIndex(SP, by) => {
                return Step::Moves(by.into());
            }
            Operand::RegPreIndex(SP, offset, false) if offset < 0 => return Step::Below,
            Operand::RegPostIndexReg(SP, _) => return Step::Dynamic,
            _ => {}
        }
    }
    if !matches!(operands[0], Operand::RegisterOrSP(_, SP)) {
        return Step::None;
    }
    let from = |register| operands[1] == Operand::RegisterOrSP(SizeCode::X, register);
    let known = operands[0] == Operand::RegisterOrSP(SizeCode::X, SP) && (from(SP) || from(FP));
    match (instruction.opcode, immediate(&operands[2])) {
        (Opcode::ADD, Some(by)) if known => Step::Moves(by),
        (Opcode::SUB, Some(by)) if known => Step::Moves(-by),
        _ => Step::Dynamic,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64;
    use crate::shared_builder::SharedBuilder;

    const RET: u32 = 0xd65f_03c0;

    fn check_code(code: &[u32]) -> (u64, Vec<String>) {
        let mut elf = SharedBuilder::module();
        elf.function("f", code);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (frames, violations) = check(&module, &arm64::functions(&module).0, 1024);
        assert_eq!((frames[0].function.as_str(), frames[0].section.as_str()), ("f", ".text"));
        (frames[0].bytes, violations.into_iter().map(|violation| violation.message).collect())
    }

    #[test]
    fn all_that_is_taken_makes_the_frame() {
        // stp x29, x30, [sp, #-32]!; mov x29, sp; str x19, [sp, #16]; sub sp, sp, #992;
        // ldr x0, [sp]; add sp, sp, #992; ldr x19, [sp, #16]; ldp x29, x30, [sp], #32; ret
        let code = [
            0xa9be_7bfd,
            0x9100_03fd,
            0xf900_0bf3,
            0xd10f_83ff,
            0xf940_03e0,
            0x910f_83ff,
            0xf940_0bf3,
            0xa8c2_7bfd,
            RET,
        ];
        assert_eq!(check_code(&code), (1024, Vec::new()));
        // str x30, [sp, #-16]!; ldr x30, [sp], #16; ret
        assert_eq!(check_code(&[0xf81f_0ffe, 0xf841_07fe, RET]), (16, Vec::new()));
    }

    #[test]
    fn a_frame_over_the_limit_is_found() {
        // sub sp, sp, #1040; add sp, sp, #1040; ret
        let (_, messages) = check_code(&[0xd110_43ff, 0x9110_43ff, RET]);
        assert_eq!(messages, ["stack frame of 1040 bytes, over 1024"]);
        // sub sp, sp, #2, lsl #12; ret
        let (_, messages) = check_code(&[0xd140_0bff, RET]);
        assert_eq!(messages, ["stack frame of 8192 bytes, over 1024"]);
    }

    #[test]
    fn a_frame_that_is_left_by_the_frame_pointer_passes() {
        // sub sp, sp, #64; mov sp, x29; ret
        assert_eq!(check_code(&[0xd101_03ff, 0x9100_03bf, RET]), (64, Vec::new()));
        // sub sp, sp, #64; sub sp, x29, #16; ret
        assert_eq!(check_code(&[0xd101_03ff, 0xd100_43bf, RET]), (80, Vec::new()));
    }

    #[test]
    fn a_frame_of_run_time_size_is_found() {
        let cases = [
            ("sub sp, sp, x0", 0xcb20_63ff),
            ("mov sp, x0", 0x9100_001f),
            ("and sp, x0, #0xffffffffffffffc0", 0x927a_e41f),
            ("sub wsp, wsp, #16", 0x5100_43ff),
        ];
        for (text, word) in cases {
            let (_, messages) = check_code(&[word, RET]);
            assert_eq!(messages.len(), 1, "{text}");
            let expected = "stack pointer set to what is known at run time only: ";
            assert!(messages[0].starts_with(expected), "{text}: {messages:?}");
        }
    }

    #[test]
    fn an_access_below_the_stack_pointer_is_found() {
        let cases = [
            ("stur x0, [sp, #-16]", 0xf81f_03e0),
            ("ldurb w0, [sp, #-1]", 0x385f_f3e0),
            ("stp x0, x1, [sp, #-16]", 0xa93f_07e0),
            ("ldnp x0, x1, [sp, #-16]", 0xa87f_07e0),
        ];
        for (text, word) in cases {
            let (_, messages) = check_code(&[word, RET]);
            assert_eq!(messages.len(), 1, "{text}");
            assert!(messages[0].starts_with("access below the stack pointer: "), "{text}: {messages:?}");
        }
    }

    #[test]
    fn comparing_the_stack_pointer_leaves_it() {
        // cmp sp, x0; mov x0, sp; add x0, sp, #16; ret
        assert_eq!(check_code(&[0xeb20_63ff, 0x9100_03e0, 0x9100_43e0, RET]), (0, Vec::new()));
    }
}
