//! amd64. `%gs` points to the `struct pcpu`; nothing on the host uses it.

use std::ffi::c_void;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use kernel_sys as sys;
use object::elf;

use crate::low::Region;
use crate::text;

/// What the kernel's linker loads.
pub(crate) const FILE: (u16, u16) = (elf::EM_X86_64, elf::ET_REL);
/// Where the memory has to be that the module's relocations reach: in the low 2 GB.
pub(crate) const NEAR: i32 = libc::MAP_32BIT;

/// Bytes of addresses for malloc(9).
pub(crate) const HEAP: usize = 1 << 42;

/// Where another tool has its breakpoint in a function, and what that is: behind the frame.
pub(crate) const BREAKPOINT: (usize, &[u8]) = (4, &[0xcc]);

/// What leads to a function: a jump; or, where a call of it is to be left out, a question before it.
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
    // movabs $function,%rax; jmp *%rax: %rax is nothing that functions are given.
    code.extend_from_slice(&[0x48, 0xb8]);
    code.extend_from_slice(&function.to_le_bytes());
    code.extend_from_slice(&[0xff, 0xe0]);
    code
}

/// What a relocation writes, and how many bytes of it: for an address, and for the place.
pub(crate) fn relocated(kind: u32, address: u64, place: u64) -> Result<(u64, usize)> {
    Ok(match kind {
        elf::R_X86_64_NONE => (0, 0),
        elf::R_X86_64_64 => (address, 8),
        elf::R_X86_64_32S => (short(address)?, 4),
        // Where nothing is, as for a weak name that is not there, a call leads nowhere: nobody makes it.
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (short(address.wrapping_sub(place))?, 4),
        kind => bail!("unexpected relocation type {kind}"),
    })
}

fn short(value: u64) -> Result<u64> {
    Ok(u64::from(i32::try_from(value.cast_signed())?.cast_unsigned()))
}

/// A function of the kernel that only this machine's has.
pub(crate) fn import(name: &str) -> Option<usize> {
    match name {
        "disable_wp" => Some(disable_wp as *const () as usize),
        "restore_wp" => Some(restore_wp as *const () as usize),
        _ => None,
    }
}

/// Variables of the kernel that only this machine's has.
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

/// Memory for the kernel's text, which can be written to while it is mapped so.
pub(crate) fn text_memory(len: usize) -> Region {
    Region::near(len)
}

/// What is added to the address of a counter for where the first CPU's part is.
pub(crate) fn counter_base(pcpu: usize) -> usize {
    pcpu
}

const ARCH_SET_GS: i32 = 0x1001;

/// Points to a CPU's `struct pcpu`.
pub(crate) fn set_pcpu(base: usize) {
    static FAST: OnceLock<bool> = OnceLock::new();
    // SAFETY: asks what the processor and the host's kernel can do.
    let fast = *FAST.get_or_init(|| unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0);
    if fast {
        // SAFETY: nothing on the host uses %gs; the host's kernel says that the instruction is allowed.
        unsafe { std::arch::asm!("wrgsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    }
}

/// Where an interrupt has come.
///
/// # Safety
///
/// `context` is what a handler of a signal gets.
pub(crate) unsafe fn interrupted_at(context: *mut c_void) -> usize {
    // SAFETY: the caller's.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

/// Has what was interrupted go on with the `struct pcpu` of now: it does.
pub(crate) unsafe fn go_on_with_pcpu(_: *mut c_void) {}

/// Notes where the caller's frame and stack are, as whoever is switched from does.
#[inline(always)]
pub(crate) fn save(pcb: &mut sys::pcb) {
    let (frame, stack): (u64, u64);
    // SAFETY: only reads.
    unsafe {
        std::arch::asm!("mov {}, rbp", "mov {}, rsp", out(reg) frame, out(reg) stack, options(nomem, nostack));
    }
    pcb.pcb_rbp = frame.cast_signed();
    pcb.pcb_rsp = stack.cast_signed();
}

/// Saves the registers that a function keeps, and the stack pointer, and calls.
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

/// Goes back behind the call of [`call_saving`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn return_saved(_stack: usize) -> ! {
    core::arch::naked_asm!(
        "mov rsp, rdi",
        "jmp {restore}",
        restore = sym restore,
    )
}

/// The end of [`call_saving`].
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
