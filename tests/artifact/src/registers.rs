//! Registers that a kernel does not save for its own use. x87, MMX, SSE, AVX and AMX registers hold
//! the process's last results, and `%fs` points to its threads' storage.

use iced_x86::{
    CpuidFeature, Formatter, GasFormatter, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};

use crate::function::Function;
use crate::module::Module;
use crate::violation::Violation;

/// Checks every instruction of every function.
pub(crate) fn check(module: &Module<'_>, functions: &[Function<'_>]) -> Vec<Violation> {
    let mut factory = InstructionInfoFactory::new();
    let mut violations = Vec::new();
    for function in functions {
        for instruction in &function.instructions {
            if let Some(what) = forbidden(&mut factory, instruction) {
                let message = format!("{what}: {}", text(instruction));
                let violation = Violation::at(module, function.section, instruction.ip(), message);
                violations.push(violation.about(function.name));
            }
        }
    }
    violations
}

/// Returns an instruction in assembler syntax.
pub(crate) fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    GasFormatter::new().format(instruction, &mut text);
    text
}

/// Returns the reason why a kernel module must not use an instruction, if there is one.
fn forbidden(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> Option<&'static str> {
    if instruction.segment_prefix() == Register::FS {
        return Some("thread-local access through %fs");
    }
    let info = factory.info(instruction);
    let used = info.used_registers().iter().any(|used| {
        let register = used.register();
        used.access() != OpAccess::None
            && (register.is_vector_register()
                || register.is_mm()
                || register.is_st()
                || register.is_k()
                || register.is_tmm()
                || register.is_bnd())
    });
    if used {
        return Some("floating-point or vector register");
    }
    if keeps_state(instruction.mnemonic()) {
        return None;
    }
    // `fwait` has no floating-point feature in CPUID: it is as old as the processor itself.
    let unit = instruction.mnemonic() == Mnemonic::Wait
        || instruction.cpuid_features().iter().any(is_floating_point);
    unit.then_some("floating-point or vector instruction")
}

/// Returns whether an instruction came with SSE, but only orders or places memory accesses.
fn keeps_state(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Lfence
            | Mnemonic::Mfence
            | Mnemonic::Sfence
            | Mnemonic::Movnti
            | Mnemonic::Pause
            | Mnemonic::Prefetchnta
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
    )
}

/// Returns whether a feature belongs to a unit whose instructions may lack a register operand:
/// `fninit`, `emms`, `ldmxcsr`, `vzeroupper`, `fxsave`, `xrstor`, `crc32`.
fn is_floating_point(feature: &CpuidFeature) -> bool {
    matches!(
        feature,
        CpuidFeature::FPU
            | CpuidFeature::FPU287
            | CpuidFeature::FPU287XL_ONLY
            | CpuidFeature::FPU387
            | CpuidFeature::FPU387SL_ONLY
            | CpuidFeature::MMX
            | CpuidFeature::D3NOW
            | CpuidFeature::D3NOWEXT
            | CpuidFeature::FXSR
            | CpuidFeature::SSE
            | CpuidFeature::SSE2
            | CpuidFeature::SSE3
            | CpuidFeature::SSSE3
            | CpuidFeature::SSE4_1
            | CpuidFeature::SSE4_2
            | CpuidFeature::SSE4A
            | CpuidFeature::AVX
            | CpuidFeature::AVX2
            | CpuidFeature::AVX512F
            | CpuidFeature::AMX_TILE
            | CpuidFeature::XSAVE
            | CpuidFeature::XSAVEC
            | CpuidFeature::XSAVEOPT
            | CpuidFeature::XSAVES
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_builder::ElfBuilder;
    use crate::function;

    fn messages(code: &[u8]) -> Vec<String> {
        let mut elf = ElfBuilder::module();
        elf.function("f", code);
        elf.function("end", [0xc3]);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let (functions, undecoded) = function::functions(&module);
        assert_eq!(undecoded, []);
        check(&module, &functions).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn every_unit_is_found() {
        let register = "floating-point or vector register";
        let unit = "floating-point or vector instruction";
        let cases: [(&str, &[u8], &str); 16] = [
            ("movaps %xmm0,(%rdi)", &[0x0f, 0x29, 0x07], register),
            ("pxor %xmm0,%xmm0", &[0x66, 0x0f, 0xef, 0xc0], register),
            ("cvtsi2sd %rax,%xmm1", &[0xf2, 0x48, 0x0f, 0x2a, 0xc8], register),
            ("vmovdqu (%rsi),%ymm2", &[0xc5, 0xfe, 0x6f, 0x16], register),
            ("vzeroupper", &[0xc5, 0xf8, 0x77], register),
            ("vmovdqu64 (%rsi),%zmm0", &[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x06], register),
            ("kmovw %eax,%k1", &[0xc5, 0xf8, 0x92, 0xc8], register),
            ("movq %rax,%mm0", &[0x48, 0x0f, 0x6e, 0xc0], register),
            ("flds (%rdi)", &[0xd9, 0x07], unit),
            ("fildll (%rdi)", &[0xdf, 0x2f], unit),
            ("fninit", &[0xdb, 0xe3], unit),
            ("emms", &[0x0f, 0x77], unit),
            ("fwait", &[0x9b], unit),
            ("ldmxcsr (%rdi)", &[0x0f, 0xae, 0x17], unit),
            ("fxsave (%rdi)", &[0x0f, 0xae, 0x07], unit),
            ("crc32l %eax,%eax", &[0xf2, 0x0f, 0x38, 0xf1, 0xc0], unit),
        ];
        for (text, code, expected) in cases {
            let found = messages(code);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn the_violation_says_where() {
        let mut elf = ElfBuilder::module();
        elf.function("f", [0xc3]);
        elf.function("g", [0x90, 0x66, 0x0f, 0xef, 0xc0, 0xc3]);
        let file = elf.build();
        let module = Module::parse(&file).unwrap();
        let found = check(&module, &function::functions(&module).0);
        let line = found[0].line("ko".as_ref(), "list".as_ref());
        assert_eq!(line, "ko: .text+0x2 (g): floating-point or vector register: pxor %xmm0,%xmm0");
    }

    #[test]
    fn what_a_kernel_does_use_passes() {
        let cases: [(&str, &[u8]); 9] = [
            ("mov %gs:0,%rax", &[0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]),
            ("mfence", &[0x0f, 0xae, 0xf0]),
            ("lfence", &[0x0f, 0xae, 0xe8]),
            ("movnti %rax,(%rdi)", &[0x48, 0x0f, 0xc3, 0x07]),
            ("prefetcht0 (%rdi)", &[0x0f, 0x18, 0x0f]),
            ("pause", &[0xf3, 0x90]),
            ("rep movsb", &[0xf3, 0xa4]),
            ("lock cmpxchg %rcx,(%rdi)", &[0xf0, 0x48, 0x0f, 0xb1, 0x0f]),
            ("ud2", &[0x0f, 0x0b]),
        ];
        for (text, code) in cases {
            assert_eq!(messages(code), [""; 0], "{text}");
        }
    }

    #[test]
    fn thread_local_access_is_found() {
        // mov %fs:0,%rax
        let found = messages(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]);
        assert!(found[0].starts_with("thread-local access"), "{found:?}");
    }
}
