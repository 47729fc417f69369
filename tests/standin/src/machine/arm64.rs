//! arm64. `x18` points to the `struct pcpu`: all of the stand-in is compiled so that nothing else
//! uses it.

use std::ffi::c_void;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use kernel_sys as sys;
use object::elf;

use crate::low::Region;
use crate::text;

/// The ELF machine and file type that the kernel's linker loads.
pub(crate) const FILE: (u16, u16) = (elf::EM_AARCH64, elf::ET_DYN);
/// The mmap(2) flag for memory within reach of the module's relocations: none, they reach anywhere.
pub(crate) const NEAR: i32 = 0;

/// The size of the address range for malloc(9), in bytes. Small, because an emulator keeps a note
/// of each page.
pub(crate) const HEAP: usize = 1 << 35;

/// The offset and the bytes of another tool's breakpoint in a function: the first instruction, `brk
/// #0x40d`.
pub(crate) const BREAKPOINT: (usize, &[u8]) = (0, &[0xa0, 0x81, 0x20, 0xd4]);

/// Encodes a `movz` and three `movk` that load a number.
fn load(register: u32, value: u64) -> impl Iterator<Item = u32> {
    let parts = [0xd280_0000_u32, 0xf2a0_0000, 0xf2c0_0000, 0xf2e0_0000].into_iter().zip([0, 16, 32, 48]);
    parts.map(move |(code, shift)| code | ((value >> shift) as u32 & 0xffff) << 5 | register)
}

fn bytes(code: &[u32]) -> Vec<u8> {
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns code that leads to a function: a jump. If calls of the function may be left out, the
/// code first calls `omit`, and returns zero if that returns true.
pub(crate) fn trampoline(function: usize, omit: Option<usize>) -> Vec<u8> {
    let mut code = Vec::new();
    if let Some(omit) = omit {
        // stp x29, x30, [sp, #-80]!; stp x0, x1, [sp, #16]; stp x2, x3, [sp, #32];
        // stp x4, x5, [sp, #48]; stp x6, x7, [sp, #64]
        code.extend_from_slice(&[0xa9bb_7bfd, 0xa901_07e0, 0xa902_0fe2, 0xa903_17e4, 0xa904_1fe6]);
        // blr x9; mov w9, w0
        code.extend(load(9, omit as u64));
        code.extend_from_slice(&[0xd63f_0120, 0x2a00_03e9]);
        // ldp x0, x1, [sp, #16]; ldp x2, x3, [sp, #32]; ldp x4, x5, [sp, #48];
        // ldp x6, x7, [sp, #64]; ldp x29, x30, [sp], #80
        code.extend_from_slice(&[0xa941_07e0, 0xa942_0fe2, 0xa943_17e4, 0xa944_1fe6, 0xa8c5_7bfd]);
        // tbz w9, #0, .+12; mov x0, #0; ret
        code.extend_from_slice(&[0x3600_0069, 0xd280_0000, 0xd65f_03c0]);
    }
    // br x16
    code.extend(load(16, function as u64));
    code.push(0xd61f_0200);
    bytes(&code)
}

/// Returns the value that a relocation writes, and its length in bytes, for a symbol's address.
pub(crate) fn relocated(kind: u32, address: u64, _: u64) -> Result<(u64, usize)> {
    Ok(match kind {
        elf::R_AARCH64_NONE => (0, 0),
        elf::R_AARCH64_ABS64
        | elf::R_AARCH64_GLOB_DAT
        | elf::R_AARCH64_JUMP_SLOT
        | elf::R_AARCH64_RELATIVE => (address, 8),
        kind => bail!("unexpected relocation type {kind}"),
    })
}

/// Returns the address of a kernel function that exists on this machine only.
pub(crate) fn import(name: &str) -> Option<usize> {
    match name {
        "arm64_get_writable_addr" => Some(arm64_get_writable_addr as *const () as usize),
        _ => None,
    }
}

/// Returns the kernel variables that exist on this machine only.
pub(crate) fn variables() -> Vec<(&'static str, usize)> {
    static SYNC: unsafe extern "C" fn(usize, usize) = icache_sync_range;
    vec![("arm64_icache_sync_range", &raw const SYNC as usize)]
}

/// The kernel's text, and its second, writable mapping.
static TEXT: OnceLock<(Region, Region)> = OnceLock::new();

/// Allocates memory for the kernel's text. It is mapped twice, as in the kernel, whose direct map
/// has it, too.
pub(crate) fn text_memory(len: usize) -> Region {
    TEXT.get_or_init(|| Region::twice(len)).0
}

unsafe extern "C" fn arm64_get_writable_addr(address: usize, writable: *mut usize) -> bool {
    let Some((text, other)) = TEXT.get().filter(|(text, _)| text.contains(address)) else { return false };
    // SAFETY: the caller passes a pointer that may be written to.
    unsafe { writable.write(other.base + (address - text.base)) };
    true
}

/// Makes written code visible to instruction fetch.
unsafe extern "C" fn icache_sync_range(address: usize, len: usize) {
    // An emulator does not notice writes through the other mapping. It discards its translation of
    // code that becomes writable.
    text::set_writable(true);
    text::spoil();
    for line in (address & !3..address + len).step_by(4) {
        // SAFETY: the instructions touch only caches, of memory that is mapped.
        unsafe {
            std::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) line, options(nostack));
        }
    }
    text::set_writable(false);
}

/// Returns the base to which a counter's address is added, to find the first CPU's part.
pub(crate) fn counter_base(_: usize) -> usize {
    0
}

/// Sets the pointer to a CPU's `struct pcpu`.
pub(crate) fn set_pcpu(base: usize) {
    // SAFETY: nothing else uses the register.
    unsafe { std::arch::asm!("mov x18, {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// Returns the address that a signal has interrupted.
///
/// # Safety
///
/// `context` is the third argument of a signal handler.
pub(crate) unsafe fn interrupted_at(context: *mut c_void) -> usize {
    // SAFETY: `context` points to the handler's ucontext_t (see # Safety).
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize }
}

/// Inverts the vector registers that a signal has saved. They are on the interrupted thread's stack,
/// where an old address in one of them would look like that of a call. An interrupt of the kernel
/// saves none there.
///
/// # Safety
///
/// `context` is the third argument of a signal handler, which calls this again before it returns.
pub(crate) unsafe fn invert_vectors(context: *mut c_void) {
    // Linux's mcontext_t ends with so many bytes of records, such as struct fpsimd_context. A record
    // begins with its type, which is zero after the last, and its size in bytes. The registers are
    // behind the first four words.
    const RECORDS: usize = 4096;
    const WORD: usize = size_of::<u32>();
    // SAFETY: `context` points to the handler's ucontext_t (see # Safety). Nothing else has a
    // reference to the saved registers.
    let mut left = unsafe {
        let end = (&raw mut (*context.cast::<libc::ucontext_t>()).uc_mcontext).add(1).cast::<u8>();
        std::slice::from_raw_parts_mut(end.sub(RECORDS).cast::<u32>(), RECORDS / WORD)
    };
    while let [kind, size, ..] = *left
        && kind != 0
    {
        let (record, rest) = left.split_at_mut(size as usize / WORD);
        record.iter_mut().skip(4).for_each(|word| *word = !*word);
        left = rest;
    }
}

/// Does nothing: an emulated process cannot step through its code.
pub(crate) fn single_step(_: bool) {}

/// Makes the interrupted code continue with the current `struct pcpu`. The host has saved the
/// earlier one.
///
/// # Safety
///
/// `context` is the third argument of a signal handler.
pub(crate) unsafe fn go_on_with_pcpu(context: *mut c_void) {
    let pcpu: u64;
    // SAFETY: `context` points to the handler's ucontext_t (see # Safety).
    unsafe {
        std::arch::asm!("mov {}, x18", out(reg) pcpu, options(nomem, nostack, preserves_flags));
        (*context.cast::<libc::ucontext_t>()).uc_mcontext.regs[18] = pcpu;
    }
}

/// Saves the caller's frame and stack pointers, as a thread that is switched out does.
#[inline(always)]
pub(crate) fn save(pcb: &mut sys::pcb) {
    let (frame, stack): (u64, u64);
    // SAFETY: the instructions only read registers.
    unsafe {
        std::arch::asm!("mov {}, x29", "mov {}, sp", out(reg) frame, out(reg) stack, options(nomem, nostack));
    }
    pcb.pcb_x[sys::PCB_FP as usize] = frame;
    pcb.pcb_sp = stack;
}

/// Saves the callee-saved registers and the stack pointer, and calls the function.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call_saving(
    _function: unsafe extern "C" fn(*mut c_void),
    _argument: *mut c_void,
    _save: *mut usize,
) {
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x2]",
        "mov x9, x0",
        "mov x0, x1",
        "blr x9",
        "b {restore}",
        restore = sym restore,
    )
}

/// Returns behind the call in [`call_saving`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn return_saved(_stack: usize) -> ! {
    core::arch::naked_asm!(
        "mov sp, x0",
        "b {restore}",
        restore = sym restore,
    )
}

/// Ends [`call_saving`]: restores the registers, and returns to its caller.
#[unsafe(naked)]
unsafe extern "C" fn restore() {
    core::arch::naked_asm!(
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
    )
}
