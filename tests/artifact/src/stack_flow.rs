//! The stack depth at every instruction of a function.
//!
//! A compiler keeps the depth at each instruction the same on all paths to it, so one walk over the
//! paths finds it. Two things do not show in the code:
//!
//! - A call that never returns has no path to the instruction behind it. Jumps are followed before
//!   calls are passed. If a path that passed a call disagrees with one that did not, that call does
//!   not return.
//! - Code that only a jump through a table reaches begins with the depth at such a jump, the
//!   deepest if there are several.

use std::collections::{BTreeMap, HashSet};

use iced_x86::{FlowControl, InstructionInfoFactory, Mnemonic};

use crate::function::{Function, is_padding};
use crate::stack_step::Depth;

/// The result of a walk over a function.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// The depth before each instruction. None for padding.
    pub(crate) depths: Vec<Option<Depth>>,
    /// The deepest the stack gets.
    pub(crate) deepest: i64,
    /// The instructions that set the stack pointer to a value known only at run time.
    pub(crate) dynamic: Vec<usize>,
    /// The instructions that are reached with two depths, and these depths.
    pub(crate) uneven: Vec<(usize, i64, i64)>,
}

/// An instruction to be visited.
#[derive(Debug, Clone, Copy)]
struct Visit {
    index: usize,
    depth: Depth,
    /// The last call that the path passed.
    passed: Option<usize>,
}

/// A walk over a function.
struct Walk<'a, 'b> {
    function: &'a Function<'b>,
    factory: InstructionInfoFactory,
    /// The calls that do not return.
    final_calls: &'a HashSet<usize>,
    flow: Flow,
    /// The last call on the path to each instruction.
    passed: Vec<Option<usize>>,
    /// The visits behind calls, by the call.
    behind_calls: BTreeMap<usize, Visit>,
    /// The depths at jumps to targets that the code does not show.
    table_jumps: Vec<Depth>,
}

/// Walks over a function.
pub(crate) fn flow(function: &Function<'_>) -> Flow {
    let mut final_calls = HashSet::new();
    loop {
        match Walk::new(function, &final_calls).run() {
            Ok(flow) => return flow,
            Err(call) => final_calls.insert(call),
        };
    }
}

impl<'a, 'b> Walk<'a, 'b> {
    fn new(function: &'a Function<'b>, final_calls: &'a HashSet<usize>) -> Self {
        let count = function.instructions.len();
        Self {
            function,
            factory: InstructionInfoFactory::new(),
            final_calls,
            flow: Flow { depths: vec![None; count], ..Flow::default() },
            passed: vec![None; count],
            behind_calls: BTreeMap::new(),
            table_jumps: Vec::new(),
        }
    }

    /// Visits everything. Fails with a call that does not return, if it finds one.
    fn run(mut self) -> Result<Flow, usize> {
        self.follow(Visit { index: 0, depth: Depth::default(), passed: None })?;
        loop {
            if let Some((_, visit)) = self.behind_calls.pop_first() {
                // The instruction was reached on another path meanwhile, which is more reliable.
                if self.flow.depths.get(visit.index).is_some_and(Option::is_none) {
                    self.follow(visit)?;
                }
            } else if let Some(index) = self.unreached() {
                let depth = self.guess();
                self.follow(Visit { index, depth, passed: Some(index) })?;
            } else {
                return Ok(self.flow);
            }
        }
    }

    /// Returns the first instruction that no path has reached and that is not padding.
    fn unreached(&self) -> Option<usize> {
        let mut reached = self.flow.depths.iter().zip(&self.function.instructions);
        reached.position(|(depth, instruction)| depth.is_none() && !is_padding(instruction))
    }

    /// Returns the depth for code that is reached only by a jump through a table, or by no path at
    /// all.
    fn guess(&self) -> Depth {
        let deepest = |depths: &mut dyn Iterator<Item = Depth>| depths.max_by_key(|depth| depth.stack);
        deepest(&mut self.table_jumps.iter().copied())
            .or_else(|| deepest(&mut self.flow.depths.iter().copied().flatten()))
            .unwrap_or_default()
    }

    /// Follows every path from an instruction up to the calls on it.
    fn follow(&mut self, first: Visit) -> Result<(), usize> {
        let mut pending = vec![first];
        while let Some(visit) = pending.pop() {
            let Some(known) = self.flow.depths.get(visit.index) else {
                continue;
            };
            if let Some(known) = *known {
                self.compare(known, visit)?;
                continue;
            }
            self.flow.depths[visit.index] = Some(visit.depth);
            self.passed[visit.index] = visit.passed;
            self.step(visit, &mut pending);
        }
        Ok(())
    }

    /// Compares the depth of an instruction on a second path with the depth on the first.
    fn compare(&mut self, known: Depth, visit: Visit) -> Result<(), usize> {
        if known.stack == visit.depth.stack {
            return Ok(());
        }
        let passed = self.passed[visit.index];
        if passed != visit.passed {
            let is_call = |index: &usize| self.function.instructions[*index].mnemonic() == Mnemonic::Call;
            if let Some(call) = passed.filter(is_call).or(visit.passed.filter(is_call)) {
                return Err(call);
            }
            if passed.or(visit.passed).is_some() {
                // One of the two paths began with a guess.
                return Ok(());
            }
        }
        self.flow.uneven.push((visit.index, known.stack, visit.depth.stack));
        Ok(())
    }

    /// Visits one instruction.
    fn step(&mut self, Visit { index, depth, passed }: Visit, pending: &mut Vec<Visit>) {
        let instruction = &self.function.instructions[index];
        let after = depth.after(&mut self.factory, instruction).unwrap_or_else(|_| {
            self.flow.dynamic.push(index);
            Depth { frame: None, ..depth }
        });
        self.flow.deepest = self.flow.deepest.max(after.stack);
        let next = Visit { index: index + 1, depth: after, passed };
        let jump = self.function.targets[index].map(|index| Visit { index, ..next });
        match instruction.flow_control() {
            FlowControl::Next => pending.push(next),
            FlowControl::ConditionalBranch => pending.extend([Some(next), jump].into_iter().flatten()),
            FlowControl::UnconditionalBranch => pending.extend(jump),
            FlowControl::IndirectBranch => self.table_jumps.push(after),
            // Instructions such as `syscall` return at once.
            FlowControl::Call | FlowControl::IndirectCall if instruction.mnemonic() != Mnemonic::Call => {
                pending.push(next);
            }
            FlowControl::Call | FlowControl::IndirectCall if self.final_calls.contains(&index) => {}
            FlowControl::Call | FlowControl::IndirectCall => {
                self.behind_calls.insert(index, Visit { passed: Some(index), ..next });
            }
            FlowControl::Interrupt if instruction.mnemonic() != Mnemonic::Int3 => pending.push(next),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::function;
    use crate::module::Module;

    fn flow_of(code: &[u8]) -> Flow {
        let mut elf = ElfBuilder::module();
        elf.function("f", code);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        flow(&function::functions(&module).0[0])
    }

    const CALL: [u8; 5] = [0xe8, 0, 1, 0, 0];

    #[test]
    fn an_epilogue_in_the_middle_does_not_end_the_frame() {
        // sub $64,%rsp; test %edi,%edi; jne 1f; add $64,%rsp; ret;
        // 1: push %rax; pop %rax; add $64,%rsp; ret
        let code = [
            0x48, 0x83, 0xec, 0x40, 0x85, 0xff, 0x75, 0x05, 0x48, 0x83, 0xc4, 0x40, 0xc3, 0x50, 0x58, 0x48,
            0x83, 0xc4, 0x40, 0xc3,
        ];
        let found = flow_of(&code);
        assert_eq!(found.deepest, 72);
        assert_eq!(found.uneven, []);
        assert!(found.depths.iter().all(Option::is_some));
    }

    #[test]
    fn a_call_that_does_not_return_is_recognised() {
        // f: test %edi,%edi; jne 1f; ret (shallow) … 1: sub $40,%rsp; call panic; then
        // 2: ret, at depth 0, which a jump before the sub reaches, too.
        let mut code = vec![0x85, 0xff, 0x74, 0x09]; // test; je 2f
        code.extend([0x48, 0x83, 0xec, 0x28]); // sub $40,%rsp
        code.extend(CALL);
        code.push(0xc3); // 2: ret
        let found = flow_of(&code);
        assert_eq!(found.deepest, 40);
        assert_eq!(found.uneven, []);
        assert_eq!(found.depths.last().unwrap().unwrap().stack, 0);
    }

    #[test]
    fn a_call_found_out_later_is_recognised_too() {
        // call g (returns); test; je 2f; sub $40,%rsp; call panic; nop; 2: ret
        let mut code = CALL.to_vec();
        code.extend([0x85, 0xff, 0x74, 0x0a, 0x48, 0x83, 0xec, 0x28]);
        code.extend(CALL);
        code.extend([0x90, 0xc3]);
        let found = flow_of(&code);
        assert_eq!(found.uneven, []);
        assert_eq!(found.deepest, 40);
    }

    #[test]
    fn a_path_that_disagrees_later_settles_which_call_returns() {
        // test; jne 1f; sub $40,%rsp; call panic; 2: ret; 1: call g; jmp 2b
        let mut code = vec![0x85, 0xff, 0x75, 0x0a, 0x48, 0x83, 0xec, 0x28];
        code.extend(CALL);
        code.push(0xc3);
        code.extend(CALL);
        code.extend([0xeb, 0xf8]);
        let found = flow_of(&code);
        assert_eq!(found.uneven, []);
        assert_eq!(found.depths[4], Some(Depth::default()), "at the ret");
    }

    #[test]
    fn a_loop_that_grows_the_stack_is_uneven() {
        // 1: push %rax; jmp 1b
        let found = flow_of(&[0x50, 0xeb, 0xfd]);
        assert_eq!(found.uneven, [(0, 0, 8)]);
        // call g; 1: sub $4096,%rsp; cmp %r11,%rsp; jne 1b; ret
        let mut code = CALL.to_vec();
        code.extend([0x48, 0x81, 0xec, 0x00, 0x10, 0x00, 0x00, 0x4c, 0x39, 0xdc, 0x75, 0xf4, 0xc3]);
        assert_eq!(flow_of(&code).uneven, [(1, 0, 4096)]);
    }

    #[test]
    fn what_a_table_reaches_has_the_depth_of_the_jump() {
        // sub $24,%rsp; jmp *(%rdi); push %rax; pop %rax; add $24,%rsp; ret
        let code = [0x48, 0x83, 0xec, 0x18, 0xff, 0x27, 0x50, 0x58, 0x48, 0x83, 0xc4, 0x18, 0xc3];
        let found = flow_of(&code);
        assert_eq!(found.deepest, 32);
        assert_eq!(found.depths.last().unwrap().unwrap().stack, 0);
    }

    #[test]
    fn a_deeper_path_is_not_taken_for_the_table_s() {
        // test; je 1f; sub $24,%rsp; jmp *(%rdi); 1: sub $64,%rsp; add $64,%rsp; ret;
        // add $24,%rsp; ret
        let code = [
            0x85, 0xff, 0x74, 0x06, 0x48, 0x83, 0xec, 0x18, 0xff, 0x27, 0x48, 0x83, 0xec, 0x40, 0x48, 0x83,
            0xc4, 0x40, 0xc3, 0x48, 0x83, 0xc4, 0x18, 0xc3,
        ];
        assert_eq!(flow_of(&code).depths.last().unwrap().unwrap().stack, 0);
    }
}
