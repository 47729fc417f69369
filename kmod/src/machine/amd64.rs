//! Code for amd64.
//!
//! `%gs` points to the `struct pcpu` of the current CPU (machine/pcpu.h). The entries do not change
//! the argument registers. They use `%r11`, which carries no value into or out of a function.

use core::arch::asm;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ops::RangeInclusive;

use kernel_sys as sys;

use super::amd64_length::instruction_len;
use super::{Code, Detour, Site, Unfit};

/// Most bytes of a detour: `jmp rel32`.
pub(crate) const DETOUR_MAX: usize = JUMP_LEN;

/// Most bytes of an island. A jump reaches all entries, so there are none.
pub(crate) const ISLAND_MAX: usize = 0;

const JUMP_LEN: usize = 5;

/// Modules whose probes may collide with a jump, so that they must be loaded after this module.
///
/// kinst of dtrace(1) patches any instruction, at any time. fbt patches the first instruction of a
/// frame, and return instructions. A jump leaves these alone.
pub(crate) const MEETS_PROBES_OF: [&CStr; 1] = [c"kinst"];

/// Opcodes of `jmp rel32`, `jmp rel8` and `int3`.
const JUMP: u8 = 0xe9;
const SHORT_JUMP: u8 = 0xeb;
const BREAKPOINT: u8 = 0xcc;

/// `push %rbp; mov %rsp,%rbp`. If there is room, a jump stands behind these instructions. fbt of
/// dtrace(1) puts its probe on the first of them, which stays as it is.
const FRAME: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

/// Returns the detour from a function to `entry`.
pub(crate) fn detour(site: &Site<'_>, entry: usize) -> Result<Detour, Unfit> {
    let framed = site.code.len() >= FRAME.len() + JUMP_LEN && site.code.starts_with(&FRAME);
    let offset = if framed { FRAME.len() } else { 0 };
    if is_patched(site, offset + JUMP_LEN) {
        return Err(Unfit::Patched);
    }
    if site.code.len() < offset + JUMP_LEN {
        return Err(Unfit::TooShort);
    }
    // A function that keeps these instructions has made its frame. The jump skips those of the
    // entry.
    let from = site.address.wrapping_add(offset + JUMP_LEN);
    let distance = entry.wrapping_add(offset).wrapping_sub(from).cast_signed();
    let [a, b, c, d] = i32::try_from(distance).map_err(|_| Unfit::TooShort)?.to_le_bytes();
    let jump = Code::new(&[JUMP, a, b, c, d], JUMP_LEN).ok_or(Unfit::TooShort)?;
    Ok(Detour { offset, jump, island: None })
}

/// Returns whether another tool has patched the first `len` bytes of a function. They then contain
/// a breakpoint, or a jump out of the backend.
fn is_patched(site: &Site<'_>, len: usize) -> bool {
    let mut at = 0;
    while at < len
        && let Some(code) = site.code.get(at..)
        && let Some(first) = code.first()
    {
        let Some(instruction) = instruction_len(code) else {
            // An instruction that cannot be decoded may hide a breakpoint.
            return code.iter().take(len - at).any(|byte| *byte == BREAKPOINT);
        };
        let target = match code {
            [JUMP, a, b, c, d, ..] => Some(i32::from_le_bytes([*a, *b, *c, *d])),
            [SHORT_JUMP, a, ..] => Some(i32::from(a.cast_signed())),
            _ => None,
        };
        let next = site.address.wrapping_add(at + instruction);
        let leaves = |distance: i32| !site.backend.contains(&next.wrapping_add_signed(distance as isize));
        if *first == BREAKPOINT || target.is_some_and(leaves) {
            return true;
        }
        at += instruction;
    }
    false
}

/// Returns whether the kernel's text can be overwritten at `address`. On amd64 it always can.
pub(crate) fn is_writable(_: usize) -> bool {
    true
}

/// Overwrites kernel text.
///
/// # Safety
///
/// No other CPU runs kernel code, no thread resumes inside these bytes, and each CPU calls
/// [`serialise`] before it continues. `code` is a detour, or the kernel's own.
pub(crate) unsafe fn write_text(address: usize, code: &Code) {
    // SAFETY: the caller guarantees that no thread runs these bytes. The text is mapped, and
    // writable while WP is off.
    unsafe {
        let wp = sys::disable_wp();
        for (place, byte) in (address..).zip(code.bytes()) {
            (place as *mut u8).write_volatile(*byte);
        }
        sys::restore_wp(wp);
    }
}

/// Makes the CPU discard instructions that it has fetched from overwritten code.
pub(crate) fn serialise() {
    core::arch::x86_64::__cpuid(0);
}

/// Offsets in an entry at which its thread is not counted. One range reaches from the first
/// instruction to the increment of the counter, the other from the instruction after the decrement
/// to the last one.
pub(crate) const UNCOUNTED: [RangeInclusive<usize>; 2] = [0..=11, 31..=32];

/// Defines an entry that calls `$body`. The assembler checks that the instructions are where
/// [`UNCOUNTED`] says. It also checks that the first two are as long as `FRAME`: a function that
/// keeps its frame enters behind them.
macro_rules! entry_code {
    ($name:ident => $body:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "1:",
                "push rbp",
                "mov rbp, rsp",
                "2:",
                "mov r11, qword ptr [rip + {inside}]",
                "3:",
                "inc qword ptr gs:[r11]",
                "call {body}",
                "mov r11, qword ptr [rip + {inside}]",
                "dec qword ptr gs:[r11]",
                "4:",
                "pop rbp",
                "5:",
                "ret",
                ".if (2b - 1b) != 4 || (3b - 1b) != {counts_in}",
                ".error \"the entry does not count in where UNCOUNTED says\"",
                ".endif",
                ".if (4b - 1b) != {counted_out} || (5b - 1b) != {last}",
                ".error \"the entry does not count out where UNCOUNTED says\"",
                ".endif",
                inside = sym $crate::entry::INSIDE,
                body = sym $body,
                counts_in = const *$crate::machine::UNCOUNTED[0].end(),
                counted_out = const *$crate::machine::UNCOUNTED[1].start(),
                last = const *$crate::machine::UNCOUNTED[1].end(),
            )
        }
    };
}
pub(crate) use entry_code;

/// Returns the current thread (`curthread`).
pub(crate) fn curthread() -> *mut sys::thread {
    let td;
    // SAFETY: the instruction only reads. A thread finds itself there on every CPU, so the compiler
    // may reuse the value (`pure`).
    unsafe {
        asm!(
            "mov {td}, gs:[{at}]",
            td = out(reg) td,
            at = const offset_of!(sys::pcpu, pc_curthread),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    td
}

/// Returns the number of the current CPU (`PCPU_GET(cpuid)`). The thread may migrate right after.
pub(crate) fn cpuid() -> u32 {
    let cpu;
    // SAFETY: the instruction only reads.
    unsafe {
        asm!(
            "mov {cpu:e}, gs:[{at}]",
            cpu = out(reg) cpu,
            at = const offset_of!(sys::pcpu, pc_cpuid),
            options(nomem, nostack, preserves_flags),
        );
    }
    cpu
}

/// Adds to a counter of counter(9), with one instruction that cannot be interrupted.
///
/// # Safety
///
/// The counter exists.
pub(crate) unsafe fn counter_u64_add(counter: sys::counter_u64_t, n: i64) {
    // SAFETY: the counter exists, as the caller guarantees. Each CPU's part lies at the counter's
    // address, relative to `%gs`.
    unsafe {
        asm!("add qword ptr gs:[{counter}], {n}", counter = in(reg) counter, n = in(reg) n, options(nostack))
    };
}

/// Returns the caller's stack pointer.
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: the instruction only reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Returns the frame pointer of a thread that was switched out.
pub(crate) fn saved_frame(pcb: &sys::pcb) -> usize {
    pcb.pcb_rbp as usize
}

/// Returns the stack pointer of a thread that was switched out.
pub(crate) fn saved_stack(pcb: &sys::pcb) -> usize {
    pcb.pcb_rsp as usize
}

/// Converts a word on a stack to the code address that it may be.
pub(crate) fn code_address(word: usize) -> usize {
    word
}

/// Waits until `parked` is zero, with `word` on the stack, for the tests of load and unload. Sets
/// `arrived` to one when `word` is on the stack.
///
/// # Safety
///
/// The pointers refer to bytes that others read and write as a whole.
#[cfg(feature = "test-park")]
pub(crate) unsafe fn park(word: usize, arrived: *mut bool, parked: *mut bool) {
    // SAFETY: one word is pushed and popped. Only a flag is written otherwise, which the caller
    // guarantees to be valid.
    unsafe {
        asm!(
            "push {word}",
            "mov byte ptr [{arrived}], 1",
            "2: pause",
            "cmp byte ptr [{parked}], 0",
            "jne 2b",
            "pop {word}",
            word = inout(reg) word => _,
            arrived = in(reg) arrived,
            parked = in(reg) parked,
        );
    }
}
