//! Stack frames: their sizes, and accesses below them.

use crate::function::Function;
use crate::module::Module;
use crate::registers::text;
use crate::stack_flow::flow;
use crate::stack_step::Depth;
use crate::violation::Violation;

/// The stack frame of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The depth of the stack pointer: saved registers, locals and arguments for callees, without
    /// the return address that a call pushes.
    pub bytes: u64,
    /// The name of the function.
    pub function: String,
    /// The name of its section.
    pub section: String,
    /// Its offset in the section.
    pub offset: u64,
}

/// Measures the frame of every function. Checks that it is not over `max_frame`, that its size is
/// fixed, and that no access goes below it.
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
        let flow = flow(function);
        let bytes = flow.deepest.unsigned_abs();
        if bytes > max_frame {
            wrong(function.start, format!("stack frame of {bytes} bytes, over {max_frame}"));
        }
        for index in flow.dynamic {
            let instruction = &function.instructions[index];
            let message =
                format!("stack pointer set to what is known at run time only: {}", text(instruction));
            wrong(instruction.ip(), message);
        }
        for (index, one, other) in flow.uneven {
            let message =
                format!("reached with {one} and with {other} bytes of stack: the frame has no size");
            wrong(function.instructions[index].ip(), message);
        }
        for (instruction, depth) in function.instructions.iter().zip(flow.depths) {
            let unknown = Depth { stack: 0, frame: None };
            if depth.unwrap_or(unknown).is_below(instruction) {
                let message = format!("access below the stack pointer (red zone): {}", text(instruction));
                wrong(instruction.ip(), message);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::function;

    fn check_code(code: &[u8]) -> (Vec<Frame>, Vec<String>) {
        let mut elf = ElfBuilder::module();
        elf.function("f", code);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (frames, violations) = check(&module, &function::functions(&module).0, 1024);
        (frames, violations.into_iter().map(|violation| violation.message).collect())
    }

    /// Returns the code push %rbp; mov %rsp,%rbp; sub $locals,%rsp; leave; ret.
    fn framed(locals: u32) -> Vec<u8> {
        let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0x48, 0x81, 0xec];
        code.extend(locals.to_le_bytes());
        code.extend([0xc9, 0xc3]);
        code
    }

    #[test]
    fn pushes_and_locals_make_the_frame() {
        let (frames, messages) = check_code(&framed(1016));
        assert_eq!(messages, [""; 0]);
        assert_eq!((frames[0].bytes, frames[0].function.as_str()), (1024, "f"));
    }

    #[test]
    fn a_frame_over_the_limit_is_found() {
        let (_, messages) = check_code(&framed(1017));
        assert_eq!(messages, ["stack frame of 1025 bytes, over 1024"]);
    }

    #[test]
    fn a_frame_of_run_time_size_is_found() {
        // push %rbp; mov %rsp,%rbp; sub %rdi,%rsp; leave; ret
        let (_, messages) = check_code(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x29, 0xfc, 0xc9, 0xc3]);
        assert_eq!(messages[0], "stack pointer set to what is known at run time only: sub %rdi,%rsp");
        // … and $-64,%rsp …
        let (_, messages) = check_code(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xc0, 0xc9, 0xc3]);
        assert_eq!(
            messages[0],
            "stack pointer set to what is known at run time only: and $0xFFFFFFFFFFFFFFC0,%rsp"
        );
    }

    #[test]
    fn the_red_zone_is_found_with_and_without_a_frame_pointer() {
        // mov %rdi,-16(%rsp); ret
        let (_, messages) = check_code(&[0x48, 0x89, 0x7c, 0x24, 0xf0, 0xc3]);
        assert_eq!(messages, ["access below the stack pointer (red zone): mov %rdi,-0x10(%rsp)"]);
        // push %rbp; mov %rsp,%rbp; mov %rdi,-8(%rbp); pop %rbp; ret
        let (_, messages) = check_code(&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0x7d, 0xf8, 0x5d, 0xc3]);
        assert_eq!(messages, ["access below the stack pointer (red zone): mov %rdi,-8(%rbp)"]);
    }

    #[test]
    fn an_uneven_frame_is_found() {
        let (_, messages) = check_code(&[0x50, 0xeb, 0xfd]);
        assert_eq!(messages, ["reached with 0 and with 8 bytes of stack: the frame has no size"]);
    }
}
