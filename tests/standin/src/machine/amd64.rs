//! amd64. `%gs` points to the `struct pcpu`; nothing on the host uses it.

use std::ffi::c_void;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use kernel_sys as sys;
use object::elf;

use crate::low::Region;
use crate::text;

/// The ELF machine and file type that the kernel's linker loads.
pub(crate) const FILE: (u16, u16) = (elf::EM_X86_64, elf::ET_REL);
/// The mmap(2) flag for memory within reach of the module's relocations: the low 2 GB.
pub(crate) const NEAR: i32 = libc::MAP_32BIT;

/// The size of the address range for malloc(9), in bytes.
pub(crate) const HEAP: usize = 1 << 42;

/// The offset and the bytes of another tool's breakpoint in a function. It stands behind the frame
/// setup.
pub(crate) const BREAKPOINT: (usize, &[u8]) = (4, &[0xcc]);

/// Returns code that leads to a function: a jump. If calls of the function may be left out, the
/// code first calls `omit`, and returns zero if that returns true.
pub(crate) fn trampoline(function: usize, omit: Option<usize>) -> Vec<u8> {
    let mut code: Vec<u8> = Vec::new();
    if let Some(omit) = omit {
        // push %rdi; push %rsi; push %rdx; push %rcx; push %r8; push %r9; sub $8,%rsp
        code.extend_from_slice(&[0x57, 0x56, 0x52, 0x51, 0x41, 0x50, 0x41, 0x51, 0x48, 0x83, 0xec, 0x08]);
        // movabs $omit,%rax; call *%rax
        code.extend_from_slice(&[0x48, 0xb8]);
        code.extend_from_slice(&omit.to_le_bytes());
        code.extend_from_slice(&[0xff, 0xd0]);
        // add $8,%rsp; pop %r9; pop %r8; pop %rcx; pop %rdx; pop %rsi; pop %rdi
        code.extend_from_slice(&[0x48, 0x83, 0xc4, 0x08, 0x41, 0x59, 0x41, 0x58, 0x59, 0x5a, 0x5e, 0x5f]);
        // test %al,%al; je .+3; xor %eax,%eax; ret
        code.extend_from_slice(&[0x84, 0xc0, 0x74, 0x03, 0x31, 0xc0, 0xc3]);
    }
    // movabs $function,%rax; jmp *%rax: %rax carries no argument.
    code.extend_from_slice(&[0x48, 0xb8]);
    code.extend_from_slice(&function.to_le_bytes());
    code.extend_from_slice(&[0xff, 0xe0]);
    code
}

/// Returns the value that a relocation writes, and its length in bytes, for a symbol's address and
/// the place to be relocated.
pub(crate) fn relocated(kind: u32, address: u64, place: u64) -> Result<(u64, usize)> {
    Ok(match kind {
        elf::R_X86_64_NONE => (0, 0),
        elf::R_X86_64_64 => (address, 8),
        elf::R_X86_64_32S => (short(address)?, 4),
        // An absent weak symbol has address zero. A call of it leads nowhere, and is never made.
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (short(address.wrapping_sub(place))?, 4),
        kind => bail!("unexpected relocation type {kind}"),
    })
}

fn short(value: u64) -> Result<u64> {
    Ok(u64::from(i32::try_from(value.cast_signed())?.cast_unsigned()))
}

/// Returns the address of a kernel function that exists on this machine only.
pub(crate) fn import(name: &str) -> Option<usize> {
    match name {
        "disable_wp" => Some(disable_wp as *const () as usize),
        "restore_wp" => Some(restore_wp as *const () as usize),
        _ => None,
    }
}

/// Returns the kernel variables that exist on this machine only.
pub(crate) fn variables() -> Vec<(&'static str, usize)> {
    Vec::new()
}

unsafe extern "C" fn disable_wp() -> bool {
    text::set_writable(true);
    true
}

unsafe extern "C" fn restore_wp(_: bool) {
    text::spoil();
    text::set_writable(false);
}

/// Allocates memory for the kernel's text. It can be written to while it is mapped writable.
pub(crate) fn text_memory(len: usize) -> Region {
    Region::near(len)
}

/// Returns the base to which a counter's address is added, to find the first CPU's part.
pub(crate) fn counter_base(pcpu: usize) -> usize {
    pcpu
}

const ARCH_SET_GS: i32 = 0x1001;

/// Sets the pointer to a CPU's `struct pcpu`.
pub(crate) fn set_pcpu(base: usize) {
    static FAST: OnceLock<bool> = OnceLock::new();
    // SAFETY: getauxval(3) only reports features of the processor and the host's kernel.
    let fast = *FAST.get_or_init(|| unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0);
    if fast {
        // SAFETY: nothing on the host uses %gs; the host's kernel says that the instruction is
        // allowed.
        unsafe { std::arch::asm!("wrgsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: nothing on the host uses %gs.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    }
}

/// Returns the address that a signal has interrupted.
///
/// # Safety
///
/// `context` is the third argument of a signal handler.
pub(crate) unsafe fn interrupted_at(context: *mut c_void) -> usize {
    // SAFETY: `context` points to the handler's ucontext_t (see # Safety).
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

/// Inverts the vector registers that a signal has saved. They are on the interrupted thread's stack,
/// where an old address in one of them would look like that of a call. An interrupt of the kernel
/// saves none there.
///
/// # Safety
///
/// `context` is the third argument of a signal handler, which calls this again before it returns.
pub(crate) unsafe fn invert_vectors(context: *mut c_void) {
    // Offsets in Linux's struct _fpstate and struct _fpx_sw_bytes.
    const REGISTERS: std::ops::Range<usize> = 32..416;
    const MAGIC: usize = 464;
    const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
    const SIZE: usize = 480;
    const EXTENDED: usize = 576;
    // SAFETY: `context` points to the handler's ucontext_t (see # Safety), and the host has saved
    // the registers as its header says. Nothing else has a reference to them.
    unsafe {
        let saved = (*context.cast::<libc::ucontext_t>()).uc_mcontext.fpregs.cast::<u8>();
        if saved.is_null() {
            return;
        }
        let invert = |range: std::ops::Range<usize>| {
            std::slice::from_raw_parts_mut(saved.add(range.start), range.len())
                .iter_mut()
                .for_each(|byte| *byte = !*byte);
        };
        invert(REGISTERS);
        if saved.add(MAGIC).cast::<u32>().read() == FP_XSTATE_MAGIC1 {
            invert(EXTENDED..saved.add(SIZE).cast::<u32>().read() as usize);
        }
    }
}

/// Makes the processor trap after each instruction of this thread, or no longer.
pub(crate) fn single_step(on: bool) {
    // SAFETY: only the trap flag changes, and the handler of the trap returns.
    unsafe {
        if on {
            std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
        } else {
            std::arch::asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq");
        }
    }
}

/// Makes the interrupted code continue with the current `struct pcpu`. Nothing to do here: a signal
/// does not save `%gs`.
pub(crate) unsafe fn go_on_with_pcpu(_: *mut c_void) {}

/// Saves the caller's frame and stack pointers, as a thread that is switched out does.
#[inline(always)]
pub(crate) fn save(pcb: &mut sys::pcb) {
    let (frame, stack): (u64, u64);
    // SAFETY: the instructions only read registers.
    unsafe {
        std::arch::asm!("mov {}, rbp", "mov {}, rsp", out(reg) frame, out(reg) stack, options(nomem, nostack));
    }
    pcb.pcb_rbp = frame.cast_signed();
    pcb.pcb_rsp = stack.cast_signed();
}

/// Saves the callee-saved registers and the stack pointer, and calls the function.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_saving(
    _function: unsafe extern "C" fn(*mut c_void),
    _argument: *mut c_void,
    _save: *mut usize,
) {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdx], rsp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "jmp {restore}",
        restore = sym restore,
    )
}

/// Returns behind the call in [`call_saving`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn return_saved(_stack: usize) -> ! {
    core::arch::naked_asm!(
        "mov rsp, rdi",
        "jmp {restore}",
        restore = sym restore,
    )
}

/// Ends [`call_saving`]: restores the registers, and returns to its caller.
#[unsafe(naked)]
unsafe extern "C" fn restore() {
    core::arch::naked_asm!(
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MARK: usize = 0x1234_5678_9abc_def0;

    /// The number of marks among the saved registers: when the signal comes, inverted, and back.
    static SEEN: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

    unsafe extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the function runs in a signal handler, whose frame has 832 bytes of saved
        // registers, with AVX, and is on a large stack.
        unsafe {
            let saved = (*context.cast::<libc::ucontext_t>()).uc_mcontext.fpregs.cast::<[usize; 104]>();
            for seen in &SEEN {
                let count = saved.read_volatile().into_iter().filter(|word| *word == MARK).count();
                seen.store(count, Ordering::Relaxed);
                invert_vectors(context);
            }
            invert_vectors(context);
        }
    }

    #[test]
    fn vectors_that_a_signal_saves_do_not_look_like_addresses() {
        // No processor since 2011 lacks it, but an emulator may.
        if !is_x86_feature_detected!("avx") {
            return;
        }
        let after: usize;
        // SAFETY: the handler only counts; the system call sends this thread the signal, and changes
        // rax, rcx and r11.
        unsafe {
            crate::host::handle(libc::SIGUSR1, on_signal, 0);
            std::arch::asm!(
                "vmovq xmm5, {mark}",
                "vinsertf128 ymm5, ymm5, xmm5, 1",
                "syscall",
                "vextractf128 xmm5, ymm5, 1",
                "vmovq {mark}, xmm5",
                mark = inout(reg) MARK => after,
                inout("rax") libc::SYS_tkill as usize => _,
                in("rdi") libc::gettid(),
                in("rsi") libc::SIGUSR1,
                out("rcx") _,
                out("r11") _,
                out("ymm5") _,
            );
        }
        assert_eq!(SEEN.each_ref().map(|seen| seen.load(Ordering::Relaxed)), [2, 0, 2]);
        assert_eq!(after, MARK);
    }
}
