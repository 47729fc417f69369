//! All checks, in one order.

use crate::allow_list::AllowList;
use crate::module::Module;
use crate::report::Report;
use crate::{function, layout, registers, relocations, sizes, stack, symbols};

/// Checks a module that is ready to be loaded:
///
/// 1. it has the form, the sections and the metadata of a module, and none of
///    what the kernel linker does not provide for (`layout`);
/// 2. only relocations that the amd64 kernel linker knows (`relocations`);
/// 3. no undefined symbol that `allow` does not name, and no name in `allow`
///    that is not used (`symbols`);
/// 4. every byte of code belongs to a function and decodes (`function`);
/// 5. no floating-point or vector register, no thread-local access (`registers`);
/// 6. no stack frame over `max_frame` bytes, none of a size known only at run
///    time, no access below the stack pointer (`stack`).
///
/// Frames are measured one by one: how deep calls nest is not added up. What only
/// a jump through a table reaches is measured from the depth of such a jump. Below
/// the stack pointer, an access is seen if it goes through `%rsp`, or through
/// `%rbp` while that points to the frame.
pub fn check(module: &Module<'_>, allow: &AllowList<'_>, max_frame: u64) -> Report {
    let mut violations = layout::check(module);
    violations.extend(relocations::check(module));
    violations.extend(symbols::check(module, allow));

    let (functions, undecoded) = function::functions(module);
    violations.extend(undecoded);
    violations.extend(registers::check(module, &functions));
    let (mut frames, unsafe_stack) = stack::check(module, &functions, max_frame);
    violations.extend(unsafe_stack);
    frames.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));

    Report { violations, frames, sizes: sizes::sizes(module) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;

    #[test]
    fn a_clean_module_has_no_violation() {
        let mut elf = ElfBuilder::module();
        // push %rbp; mov %rsp,%rbp; sub $32,%rsp; call g; leave; ret
        elf.function("f", [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xe8, 0, 0, 0, 0, 0xc9, 0xc3]);
        elf.relocate(".text", 9, object::elf::R_X86_64_PLT32, "g", -4);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();

        let report = check(&module, &AllowList::parse("g\n"), 1024);
        assert_eq!(report.violations, []);
        assert_eq!(report.frames.len(), 1);
        assert_eq!(report.frames[0].bytes, 40);
    }
}
