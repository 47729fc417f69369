//! Code for arm64.
//!
//! `x18` points to the `struct pcpu` of the current CPU (machine/pcpu.h), and compiled code does
//! not use it otherwise. Arguments are in `x0` to `x7`. The entries use `x15` to `x17`: `x9` to
//! `x17` carry no value into or out of a function.

use core::arch::asm;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_sys as sys;

use super::{Code, Detour, Site, Unfit};

/// Most bytes of a detour: six instructions. It contains no data that fbt could take for
/// instructions.
pub(crate) const DETOUR_MAX: usize = 24;

/// Most bytes of an island: five instructions.
pub(crate) const ISLAND_MAX: usize = 20;

/// Modules whose probes may collide with a jump, so that they must be loaded after this module.
///
/// fbt of dtrace(1) searches for the first instruction of a frame and for return instructions, and
/// finds none in a jump. kinst is told which instruction to patch.
pub(crate) const MEETS_PROBES_OF: [&CStr; 2] = [c"fbt", c"kinst"];

/// `bti c`.
const BTI_C: u32 = 0xd503_245f;
/// `paciasp` and `autiasp`, `pacibsp` and `autibsp`.
const SIGN: [(u32, u32); 2] = [(0xd503_233f, 0xd503_23bf), (0xd503_237f, 0xd503_23ff)];

/// `movz x16, #n`, `movn x16, #n`, `movk x16, #n, lsl #16`, `movk x16, #n, lsl #32`.
const MOVZ: u32 = 0xd280_0010;
const MOVN: u32 = 0x9280_0010;
const MOVK_16: u32 = 0xf2a0_0010;
const MOVK_32: u32 = 0xf2c0_0010;
/// `br x16`, which may branch to a `bti c`.
const BR_X16: u32 = 0xd61f_0200;
/// `b`.
const B: u32 = 0x1400_0000;

/// Returns the detour from a function to `entry`.
///
/// The instruction where indirect calls may land, `bti c` or `paciasp`, stays. If there is room, so
/// does the first instruction of the frame, on which fbt of dtrace(1) has its probe. The jump
/// undoes both before it branches to the entry, as if the function had just been called.
///
/// A function that is too short for a jump branches to an island, which contains the jump. A single
/// branch does not reach the module, which may be more than 128 MB away.
pub(crate) fn detour(site: &Site<'_>, entry: usize) -> Result<Detour, Unfit> {
    let words = || words(site.code);
    let first = words().next().ok_or(Unfit::TooShort)?;
    let unsign = SIGN.iter().find(|(sign, _)| *sign == first).map(|(_, unsign)| *unsign);
    let landing = usize::from(unsign.is_some() || first == BTI_C);
    let unframe = words().nth(landing).and_then(undone);
    let jumps = [
        unframe.and_then(|unframe| Some((landing + 1, assemble(&[Some(unframe), unsign], entry)?))),
        assemble(&[unsign], entry).map(|jump| (landing, jump)),
    ];
    let fits = |offset: usize, jump: &Code| 4 * offset + jump.bytes().len() <= site.code.len();
    let jump = jumps.into_iter().flatten().find(|(offset, jump)| fits(*offset, jump));
    let detour = match jump {
        Some((offset, jump)) => Detour { offset: 4 * offset, jump, island: None },
        None => {
            let from = site.address.wrapping_add(4 * landing);
            let jump = site.island.and_then(|island| branch(from, island));
            let jump = jump.filter(|jump| fits(landing, jump)).ok_or(Unfit::TooShort)?;
            Detour { offset: 4 * landing, jump, island: assemble(&[unsign], entry) }
        }
    };
    let end = detour.offset / 4 + detour.jump.bytes().len() / 4;
    if is_patched(site, end) { Err(Unfit::Patched) } else { Ok(detour) }
}

/// Returns code that undoes the instructions that stay in a function, and branches to `entry`.
fn assemble(undo: &[Option<u32>], entry: usize) -> Option<Code> {
    let part = |shift: u32| (entry >> shift) as u32 & 0xffff;
    // The upper 16 bits of an address are all equal.
    let low = if part(48) == 0 { MOVZ | part(0) << 5 } else { MOVN | (part(0) ^ 0xffff) << 5 };
    let go = [low, MOVK_16 | part(16) << 5, MOVK_32 | part(32) << 5, BR_X16];
    let mut bytes = [0; DETOUR_MAX];
    let mut len = 0;
    for word in undo.iter().flatten().chain(&go) {
        bytes.get_mut(len..len + 4)?.copy_from_slice(&word.to_le_bytes());
        len += 4;
    }
    Code::new(&bytes, len)
}

/// Returns a branch of one instruction, or `None` if it does not reach.
fn branch(from: usize, to: usize) -> Option<Code> {
    const REACH: isize = 1 << 27;
    let distance = to.wrapping_sub(from).cast_signed();
    let reaches = (-REACH..REACH).contains(&distance);
    let word = B | (distance >> 2) as u32 & 0x03ff_ffff;
    reaches.then(|| Code::new(&word.to_le_bytes(), 4)).flatten()
}

/// Returns the instructions of `code`.
fn words(code: &[u8]) -> impl Iterator<Item = u32> {
    code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word))
}

/// Returns whether another tool has patched the first `len` instructions of a function. They then
/// contain a breakpoint, a branch out of the backend, or a jump of this module's kind.
fn is_patched(site: &Site<'_>, len: usize) -> bool {
    let leaves = |(at, word): (usize, u32)| {
        // The distance is a signed number of instructions, of 26 bits.
        let distance = (word << 6).cast_signed() >> 4;
        let target = site.address.wrapping_add(4 * at).wrapping_add_signed(distance as isize);
        is_branch(word) && !site.backend.contains(&target)
    };
    let far = |word| word & 0xffe0_001f == MOVK_32;
    let mut pairs = words(site.code).zip(words(site.code).skip(1)).take(len);
    words(site.code).take(len).any(is_breakpoint)
        || words(site.code).take(len).enumerate().any(leaves)
        || pairs.any(|(word, next)| far(word) && next == BR_X16)
}

/// Returns the instruction that undoes the first one of a frame. That is `ldp xa, xb, [sp], #n` for
/// `stp xa, xb, [sp, #-n]!`, and `add sp, sp, #n` for `sub sp, sp, #n`.
fn undone(frame: u32) -> Option<u32> {
    if frame & 0xff80_03ff == 0xd100_03ff {
        return Some(frame & !(1 << 30));
    }
    // The offset is a signed number of seven bits. The lowest one has no positive counterpart.
    let offset = frame >> 15 & 0x7f;
    let pushes = frame & 0xffc0_03e0 == 0xa980_03e0 && offset > 0x40;
    pushes.then_some(0xa8c0_03e0 | (0x80 - offset) << 15 | frame & 0x7c1f)
}

/// Returns whether an instruction is `b`.
fn is_branch(instruction: u32) -> bool {
    instruction & 0xfc00_0000 == B
}

/// Returns whether an instruction is `brk`.
fn is_breakpoint(instruction: u32) -> bool {
    instruction & 0xffe0_001f == 0xd420_0000
}

/// Returns whether the kernel's text can be overwritten at `address`. The text may be mapped
/// read-only and have no writable address. Any context.
pub(crate) fn is_writable(address: usize) -> bool {
    writable_address(address).is_some()
}

/// Returns an address through which a byte of text can be written, if it has one.
fn writable_address(address: usize) -> Option<usize> {
    let mut writable = 0_usize;
    // The releases have different types for this pointer, of the same size.
    // SAFETY: the function only checks how the address is mapped.
    let found = unsafe { sys::arm64_get_writable_addr(address as _, (&raw mut writable).cast()) };
    found.then_some(writable)
}

/// Overwrites kernel text.
///
/// # Safety
///
/// No other CPU runs kernel code, no thread resumes inside these bytes, and each CPU calls
/// [`serialise`] before it continues. `code` is a detour, or the kernel's own. [`is_writable`] has
/// returned true for the first and the last byte.
pub(crate) unsafe fn write_text(address: usize, code: &Code) {
    for (place, word) in (address..).step_by(4).zip(words(code.bytes())) {
        // The code may lie in two pages, whose writable addresses need not be adjacent.
        let Some(writable) = writable_address(place) else { unreachable!("is_writable() has said so") };
        // SAFETY: the caller guarantees that no thread runs these bytes. The address is writable,
        // and an instruction is aligned.
        unsafe { (writable as *mut u32).write_volatile(word) };
    }
    // SAFETY: the pointer was set when the kernel determined how its caches work. The function
    // cleans and invalidates on all CPUs.
    if let Some(sync) = unsafe { sys::arm64_icache_sync_range } {
        // SAFETY: the range is kernel text, which is mapped.
        unsafe { sync(address as _, code.bytes().len() as _) };
    }
}

/// Makes the CPU discard instructions that it has fetched from overwritten code.
pub(crate) fn serialise() {
    // SAFETY: the instruction only waits.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Offsets in an entry at which its thread is not counted, or may not be. One range reaches from
/// the first instruction to the one after the store that counts in. The other reaches from the one
/// after the store that counts out to the last one.
pub(crate) const UNCOUNTED: [RangeInclusive<usize>; 2] = [0..=40, 76..=84];

/// Defines an entry that calls `$body`. The assembler checks that the instructions are where
/// [`UNCOUNTED`] says. A thread that migrates is counted on the CPU that it was on. This does no
/// harm, because only the sum matters.
macro_rules! entry_code {
    ($name:ident => $body:path) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "1:",
                "hint #34", // bti c
                "stp x29, x30, [sp, #-16]!",
                "mov x29, sp",
                "adrp x16, {inside}",
                "ldr x16, [x16, :lo12:{inside}]",
                "ldr x17, [x18, {zpcpu}]",
                "add x16, x16, x17",
                "2:",
                "ldxr x17, [x16]",
                "add x17, x17, #1",
                "stxr w15, x17, [x16]",
                "3:",
                "cbnz w15, 2b",
                "bl {body}",
                "adrp x16, {inside}",
                "ldr x16, [x16, :lo12:{inside}]",
                "ldr x17, [x18, {zpcpu}]",
                "add x16, x16, x17",
                "4:",
                "ldxr x17, [x16]",
                "sub x17, x17, #1",
                "stxr w15, x17, [x16]",
                "5:",
                "cbnz w15, 4b",
                "ldp x29, x30, [sp], #16",
                "6:",
                "ret",
                ".if (3b - 1b) != {counted_in}",
                ".error \"the entry does not count in where UNCOUNTED says\"",
                ".endif",
                ".if (5b - 1b) != {counted_out} || (6b - 1b) != {last}",
                ".error \"the entry does not count out where UNCOUNTED says\"",
                ".endif",
                inside = sym $crate::entry::INSIDE,
                body = sym $body,
                zpcpu = const core::mem::offset_of!(kernel_sys::pcpu, pc_zpcpu_offset),
                counted_in = const *$crate::machine::UNCOUNTED[0].end(),
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
            "ldr {td}, [x18, {at}]",
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
            "ldr {cpu:w}, [x18, {at}]",
            cpu = out(reg) cpu,
            at = const offset_of!(sys::pcpu, pc_cpuid),
            options(nomem, nostack, preserves_flags),
        );
    }
    cpu
}

/// Adds to a counter of counter(9), in the part of the CPU on which the function began.
///
/// # Safety
///
/// The counter exists.
pub(crate) unsafe fn counter_u64_add(counter: sys::counter_u64_t, n: i64) {
    let offset: usize;
    // SAFETY: the counter exists, as the caller guarantees. Each CPU's part lies at the offset from
    // the counter's address that its `struct pcpu` contains.
    unsafe {
        asm!(
            "ldr {offset}, [x18, {at}]",
            offset = out(reg) offset,
            at = const offset_of!(sys::pcpu, pc_zpcpu_offset),
            options(nomem, nostack, preserves_flags),
        );
        AtomicU64::from_ptr(counter.byte_add(offset)).fetch_add(n.cast_unsigned(), Ordering::Relaxed);
    }
}

/// Returns the caller's stack pointer.
pub(crate) fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: the instruction only reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Returns the frame pointer of a thread that was switched out.
pub(crate) fn saved_frame(pcb: &sys::pcb) -> usize {
    const FP: usize = sys::PCB_FP as usize;
    pcb.pcb_x[FP] as usize
}

/// Returns the stack pointer of a thread that was switched out.
pub(crate) fn saved_stack(pcb: &sys::pcb) -> usize {
    pcb.pcb_sp as usize
}

/// Converts a word on a stack to the code address that it may be. Replaces a signature by ones,
/// which all addresses of the kernel have in these bits.
pub(crate) fn code_address(word: usize) -> usize {
    const SIGNATURE: usize = 0xffff << 48;
    const IS_KERNEL: usize = 1 << 55;
    if word & IS_KERNEL == 0 { word } else { word | SIGNATURE }
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
            "str {word}, [sp, #-16]!",
            "strb {one:w}, [{arrived}]",
            "2: yield",
            "ldrb {one:w}, [{parked}]",
            "cbnz {one:w}, 2b",
            "add sp, sp, #16",
            word = in(reg) word,
            one = inout(reg) 1 => _,
            arrived = in(reg) arrived,
            parked = in(reg) parked,
        );
    }
}
