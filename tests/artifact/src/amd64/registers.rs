//! Registers that a kernel does not save for its own use. x87, MMX, SSE, AVX and AMX registers hold
//! the process's last results, and `%fs` points to its threads' storage.

use iced_x86::{CpuidFeature, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register};

/// Returns the reason why a kernel module must not use an instruction, if there is one.
pub(crate) fn forbidden(instruction: &Instruction) -> Option<&'static str> {
    if instruction.is_invalid() {
        return Some("not an instruction");
    }
    if instruction.segment_prefix() == Register::FS {
        return Some("thread-local access through %fs");
    }
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers().iter().any(|used| {
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
