//! All checks, in order.

use object::elf;

use crate::allow_list::AllowList;
use crate::amd64::Amd64;
use crate::arm64::Arm64;
use crate::function::{Instruction, functions};
use crate::module::Module;
use crate::report::Report;
use crate::stack::Frame;
use crate::violation::Violation;
use crate::{layout, relocations, shared, sizes, stack, symbols};

/// Checks a module that is ready to be loaded, for its machine:
///
/// 1. It has the form, the sections and the metadata of a module, and no features that the kernel
///    linker lacks (`layout`; `shared` for arm64, where a module is a shared object).
/// 2. It has only relocations that this machine's kernel linker knows (`relocations`, `shared`).
/// 3. Every undefined symbol is named in `allow`, and every name in `allow` is used (`symbols`).
/// 4. Every byte of code belongs to a function and decodes (`function`).
/// 5. It uses no floating-point or vector register and no thread-local access (`amd64`, `arm64`). On
///    arm64, it uses no atomic instruction that some CPUs lack, and `x18` only to read the `struct
///    pcpu`.
/// 6. No stack frame is over `max_frame` bytes or of a size known only at run time, and no access
///    goes below the stack pointer (`stack`).
///
/// Frames are measured one by one, each by an upper bound: the depth of nested calls is not added
/// up. An access below the stack pointer is found if it goes through `%rsp`, `%rbp` or `sp`. On
/// amd64, `%rbp` must point to the frame.
pub fn check(module: &Module<'_>, allow: &AllowList<'_>, max_frame: u64) -> Report {
    let mut violations = Vec::new();
    let mut frames = Vec::new();
    match module.machine {
        elf::EM_X86_64 => {
            violations.extend(layout::check(module));
            violations.extend(relocations::check(module));
            violations.extend(symbols::check(module, allow));
            check_code::<Amd64>(module, max_frame, &mut violations, &mut frames);
        }
        elf::EM_AARCH64 => {
            violations.extend(shared::check(module));
            violations.extend(symbols::check(module, allow));
            check_code::<Arm64>(module, max_frame, &mut violations, &mut frames);
        }
        other => {
            let message = format!("e_machine is {other}, neither EM_X86_64 nor EM_AARCH64");
            violations.push(Violation::in_part("ELF header", 18, message));
        }
    }
    frames.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));
    Report { violations, frames, sizes: sizes::sizes(module) }
}

/// Checks all functions, and measures their frames.
fn check_code<I: Instruction>(
    module: &Module<'_>,
    max_frame: u64,
    violations: &mut Vec<Violation>,
    frames: &mut Vec<Frame>,
) {
    let (functions, uncovered) = functions::<I>(module);
    violations.extend(uncovered);
    for function in &functions {
        let mut wrong = |offset, message| {
            let violation = Violation::at(module, function.section, offset, message);
            violations.push(violation.about(function.name));
        };
        for code in &function.code {
            if let Some(what) = code.forbidden() {
                wrong(code.offset(), format!("{what}: {code}"));
            }
        }
        let (frame, unsafe_stack) = stack::check(module, function, max_frame);
        frames.push(frame);
        for (offset, message) in unsafe_stack {
            wrong(offset, message);
        }
    }
}
