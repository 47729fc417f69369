//! All checks, in order.

use object::elf;

use crate::allow_list::AllowList;
use crate::module::Module;
use crate::report::Report;
use crate::stack::Frame;
use crate::violation::Violation;
use crate::{
    arm64, arm64_registers, arm64_stack, function, layout, registers, relocations, shared,
    shared_relocations, sizes, stack, symbols,
};

/// Checks a module that is ready to be loaded, for its machine:
///
/// 1. It has the form, the sections and the metadata of a module, and no features that the kernel
///    linker lacks (`layout`; `shared` for arm64, where a module is a shared object).
/// 2. It has only relocations that this machine's kernel linker knows (`relocations`,
///    `shared_relocations`).
/// 3. Every undefined symbol is named in `allow`, and every name in `allow` is used (`symbols`).
/// 4. Every byte of code belongs to a function and decodes (`function`, `arm64`).
/// 5. It uses no floating-point or vector register and no thread-local access (`registers`,
///    `arm64_registers`). On arm64, it uses no atomic instruction that some CPUs lack, and `x18`
///    only to read the `struct pcpu`.
/// 6. No stack frame is over `max_frame` bytes or of a size known only at run time, and no access
///    goes below the stack pointer (`stack`, `arm64_stack`).
///
/// Frames are measured one by one: the depth of nested calls is not added up.
///
/// On amd64, code that is reached only by a jump through a table is measured from the depth of such
/// a jump. An access below the stack pointer is found if it goes through `%rsp`, or through `%rbp`
/// while that points to the frame. On arm64, a frame's size is an upper bound, and such an access
/// is found if it goes through `sp`.
pub fn check(module: &Module<'_>, allow: &AllowList<'_>, max_frame: u64) -> Report {
    let (violations, mut frames) = match module.machine {
        elf::EM_X86_64 => check_amd64(module, allow, max_frame),
        elf::EM_AARCH64 => check_arm64(module, allow, max_frame),
        other => {
            let message = format!("e_machine is {other}, neither EM_X86_64 nor EM_AARCH64");
            (vec![Violation::in_part("ELF header", 18, message)], Vec::new())
        }
    };
    frames.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));
    Report { violations, frames, sizes: sizes::sizes(module) }
}

/// Checks a relocatable module for amd64.
fn check_amd64(module: &Module<'_>, allow: &AllowList<'_>, max_frame: u64) -> (Vec<Violation>, Vec<Frame>) {
    let mut violations = layout::check(module);
    violations.extend(relocations::check(module));
    violations.extend(symbols::check(module, allow));

    let (functions, undecoded) = function::functions(module);
    violations.extend(undecoded);
    violations.extend(registers::check(module, &functions));
    let (frames, unsafe_stack) = stack::check(module, &functions, max_frame);
    violations.extend(unsafe_stack);
    (violations, frames)
}

/// Checks a shared object for arm64.
fn check_arm64(module: &Module<'_>, allow: &AllowList<'_>, max_frame: u64) -> (Vec<Violation>, Vec<Frame>) {
    let mut violations = shared::check(module);
    violations.extend(shared_relocations::check(module));
    violations.extend(symbols::check(module, allow));

    let (functions, uncovered) = arm64::functions(module);
    violations.extend(uncovered);
    violations.extend(arm64_registers::check(module, &functions));
    let (frames, unsafe_stack) = arm64_stack::check(module, &functions, max_frame);
    violations.extend(unsafe_stack);
    (violations, frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::shared_builder::{DATA, SharedBuilder};

    #[test]
    fn a_clean_module_has_no_violation() {
        let mut elf = ElfBuilder::module();
        // push %rbp; mov %rsp,%rbp; sub $32,%rsp; call g; leave; ret
        elf.function("f", [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xe8, 0, 0, 0, 0, 0xc9, 0xc3]);
        elf.relocate(".text", 9, elf::R_X86_64_PLT32, "g", -4);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();

        let report = check(&module, &AllowList::parse("g\n"), 1024);
        assert_eq!(report.violations, []);
        assert_eq!(report.frames.len(), 1);
        assert_eq!(report.frames[0].bytes, 40);
    }

    #[test]
    fn a_clean_shared_object_has_no_violation() {
        let mut elf = SharedBuilder::module();
        // str x30, [sp, #-16]!; ldr x30, [sp], #16; ret
        elf.function("f", &[0xf81f_0ffe, 0xf841_07fe, 0xd65f_03c0]);
        let got = elf.section(".got", elf::SHT_PROGBITS, elf::SHF_ALLOC | elf::SHF_WRITE, &[0; 8]);
        assert_eq!(got, DATA + 16);
        elf.undefined("g");
        elf.relocate(got, elf::R_AARCH64_GLOB_DAT, 5);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();

        let report = check(&module, &AllowList::parse("g\n"), 1024);
        assert_eq!(report.violations, []);
        assert_eq!(report.frames.len(), 1);
        assert_eq!(report.frames[0].bytes, 16);

        let report = check(&module, &AllowList::parse(""), 1024);
        let line = report.violations[0].line("ko".as_ref(), "list".as_ref());
        assert_eq!(line, "ko: .got+0x0 (-): undefined symbol that the allow-list does not name: g");
        assert_eq!(report.violations.len(), 1);
    }

    #[test]
    fn another_machine_s_file_is_one_violation() {
        for mut file in [ElfBuilder::module().build(), SharedBuilder::module().build()] {
            // EM_RISCV
            file[18..20].copy_from_slice(&[243, 0]);
            let report = check(&Module::parse(&file).unwrap(), &AllowList::parse("g\n"), 1024);
            let line = report.violations[0].line("ko".as_ref(), "list".as_ref());
            assert_eq!(line, "ko: ELF header+0x12 (-): e_machine is 243, neither EM_X86_64 nor EM_AARCH64");
            assert_eq!(report.violations.len(), 1);
        }
    }
}
