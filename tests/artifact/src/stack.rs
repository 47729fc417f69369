//! Stack frames: their sizes, and accesses below them.

use crate::function::{Function, Instruction};
use crate::module::Module;

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

/// Measures the frame of a function. Checks that it is not over `max_frame`, that its size is fixed,
/// and that no access goes below it. Returns violations as offsets and messages.
pub(crate) fn check<I: Instruction>(
    module: &Module<'_>,
    function: &Function<'_, I>,
    max_frame: u64,
) -> (Frame, Vec<(u64, String)>) {
    let mut violations = Vec::new();
    let bytes = depth(&function.code);
    if bytes > max_frame {
        violations.push((function.start, format!("stack frame of {bytes} bytes, over {max_frame}")));
    }
    for code in &function.code {
        if code.takes().is_none() {
            let message = format!("stack or frame pointer set to a value known only at run time: {code}");
            violations.push((code.offset(), message));
        }
        if code.reaches() > bytes {
            let message = format!("access below the stack pointer (red zone): {code}");
            violations.push((code.offset(), message));
        }
    }
    let frame = Frame {
        bytes,
        function: function.name.to_owned(),
        section: module.sections[function.section].name.to_owned(),
        offset: function.start,
    };
    (frame, violations)
}

/// Returns an upper bound of the depth of the stack, without following the paths of the function.
///
/// Compilers keep the depth at an instruction the same on all paths to it, so a path without loops
/// has it. That path enters each run of instructions between two branches once, at any of them, and
/// leaves it at its end. It keeps at most the bytes that the rest of the run takes, for the entry
/// with most bytes. The sum over all runs bounds the path. Within one run, the stack can be deeper
/// meanwhile, for arguments of a call.
fn depth<I: Instruction>(code: &[I]) -> u64 {
    let (mut kept, mut meanwhile) = (0, 0);
    let (mut now, mut deepest) = (0, 0);
    for instruction in code {
        now = (now + instruction.takes().unwrap_or(0)).max(0);
        deepest = now.max(deepest);
        if instruction.branches() {
            kept += now;
            meanwhile = meanwhile.max(deepest - now);
            (now, deepest) = (0, 0);
        }
    }
    (kept + now + meanwhile.max(deepest - now)).unsigned_abs()
}
