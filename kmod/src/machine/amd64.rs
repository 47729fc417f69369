//! amd64.
//!
//! `%gs` points to the `struct pcpu` of the CPU that runs (machine/pcpu.h). Arguments are in registers that the
//! entries leave alone; `%r11` is nobody's between two functions.

use core::arch::asm;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ops::RangeInclusive;

use kernel_sys as sys;

use super::amd64_length::instruction_len;
use super::{Code, Detour, Site, Unfit};

/// Most bytes of a detour: `jmp rel32`.
pub(crate) const DETOUR_MAX: usize = JUMP_LEN;

/// Most bytes at an island: a jump reaches all entries, and needs none.
pub(crate) const ISLAND_MAX: usize = 0;

const JUMP_LEN: usize = 5;

/// Modules whose probes may stand where a jump does, so that they must be loaded later. kinst of dtrace(1) writes to any
/// instruction, whenever it is told to; fbt to the first of a frame and to returns, which a jump leaves alone.
pub(crate) const MEETS_PROBES_OF: [&CStr; 1] = [c"kinst"];

/// `jmp rel32`, `jmp rel8`, `int3`.
const JUMP: u8 = 0xe9;
const SHORT_JUMP: u8 = 0xeb;
const BREAKPOINT: u8 = 0xcc;

/// `push %rbp; mov %rsp,%rbp`. A jump stands behind the frame where there is room: fbt of dtrace(1) puts its
/// probes on the first of these instructions, which stays as it is.
const FRAME: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

/// Returns the way from a function to `entry`.
pub(crate) fn detour(site: &Site<'_>, entry: usize) -> Result<Detour, Unfit> {
    let framed = site.code.len() >= FRAME.len() + JUMP_LEN && site.code.starts_with(&FRAME);
    let offset = if framed { FRAME.len() } else { 0 };
    if is_patched(site, offset + JUMP_LEN) {
        return Err(Unfit::Patched);
    }
    if site.code.len() < offset + JUMP_LEN {
        return Err(Unfit::TooShort);
    }
    // A frame that stays has been made: the entry is to make none.
    let from = site.address.wrapping_add(offset + JUMP_LEN);
    let distance = entry.wrapping_add(offset).wrapping_sub(from).cast_signed();
    let [a, b, c, d] = i32::try_from(distance).map_err(|_| Unfit::TooShort)?.to_le_bytes();
    let jump = Code::new(&[JUMP, a, b, c, d], JUMP_LEN).ok_or(Unfit::TooShort)?;
    Ok(Detour { offset, jump, island: None })
}

/// Returns whether another tool has written to the first `len` bytes of a function: there is a breakpoint, or a jump out of
/// the backend.
fn is_patched(site: &Site<'_>, len: usize) -> bool {
    let mut at = 0;
    while at < len
        && let Some(code) = site.code.get(at..)
        && let Some(first) = code.first()
    {
        let Some(instruction) = instruction_len(code) else {
            // What cannot be read may hide a breakpoint.
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

/// Whether the kernel's text can be overwritten at `address`. It can.
pub(crate) fn is_writable(_: usize) -> bool {
    true
}

/// Overwrites text of the kernel.
///
/// # Safety
///
/// No other CPU runs kernel code, no thread is to go on inside these bytes, and every
/// CPU calls [`serialise`] before it goes on. `code` is a detour, or the kernel's own.
pub(crate) unsafe fn write_text(address: usize, code: &Code) {
    // SAFETY: the caller's; the text is mapped, and writable while WP is off.
    unsafe {
        let wp = sys::disable_wp();
        for (place, byte) in (address..).zip(code.bytes()) {
            (place as *mut u8).write_volatile(*byte);
        }
        sys::restore_wp(wp);
    }
}

/// Has the CPU forget what it has read of code that was overwritten.
pub(crate) fn serialise() {
    core::arch::x86_64::__cpuid(0);
}

/// Offsets in an entry of the instructions at which its thread is not counted: the first to the one that counts in,
/// the first after the one that counts out to the last.
pub(crate) const UNCOUNTED: [RangeInclusive<usize>; 2] = [0..=11, 31..=32];

/// An entry to `$body`. The sizes of its instructions are those that [`UNCOUNTED`] says, and a function that keeps its
/// frame comes in behind the first two, which the assembler checks.
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

/// The thread that runs (`curthread`).
pub(crate) fn curthread() -> *mut sys::thread {
    let td;
    // SAFETY: only reads. Wherever a thread goes on, it finds itself there: the compiler may ask once.
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

/// The number of the CPU (`PCPU_GET(cpuid)`), which may be another right after.
pub(crate) fn cpuid() -> u32 {
    let cpu;
    // SAFETY: only reads.
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

/// Adds to a counter of counter(9), with one instruction that nothing comes between.
///
/// # Safety
///
/// The counter exists.
pub(crate) unsafe fn counter_u64_add(counter: sys::counter_u64_t, n: i64) {
    // SAFETY: the caller's; each CPU has its part as far from the counter's address as `%gs` says.
    unsafe {
        asm!("add qword ptr gs:[{counter}], {n}", counter = in(reg) counter, n = in(reg) n, options(nostack))
    };
}

/// Where the stack of the caller is.
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Frame pointer of a thread that was switched from.
pub(crate) fn saved_frame(pcb: &sys::pcb) -> usize {
    pcb.pcb_rbp as usize
}

/// Stack pointer of a thread that was switched from.
pub(crate) fn saved_stack(pcb: &sys::pcb) -> usize {
    pcb.pcb_rsp as usize
}

/// The address of code that a word on a stack is, if it is one.
pub(crate) fn code_address(word: usize) -> usize {
    word
}

/// For the tests of the switch: waits until `parked` is zero, with `word` on the stack; `arrived` is one from then on.
///
/// # Safety
///
/// The pointers are to bytes that others read and write whole.
#[cfg(feature = "test-park")]
pub(crate) unsafe fn park(word: usize, arrived: *mut bool, parked: *mut bool) {
    // SAFETY: one word is pushed and popped; nothing else is written but a flag.
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
