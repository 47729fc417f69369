//! amd64.
//!
//! `%gs` points to the `struct pcpu` of the CPU that runs (machine/pcpu.h). Arguments are in registers that the
//! entries leave alone; `%r11` is nobody's between two functions.

use core::arch::asm;
use core::ffi::CStr;
use core::mem::offset_of;
use core::ops::{Range, RangeInclusive};

use kernel_sys as sys;

/// Length of what redirects a function: `jmp rel32`.
pub(crate) const JUMP_LEN: usize = 5;

/// Offsets in a jump at which a thread is inside it: one instruction has none.
pub(crate) const INSIDE_JUMP: Range<usize> = 0..0;

/// Modules whose probes may stand where a jump does, so that they must be loaded later: none, as a jump is where
/// dtrace(1) has no probe.
pub(crate) const MEETS_PROBES_OF: [&CStr; 0] = [];

/// First bytes of what other tools write into functions: `jmp rel32` and `int3`.
const JUMP: u8 = 0xe9;
const BREAKPOINT: u8 = 0xcc;

/// `push %rbp; mov %rsp,%rbp`: kernels keep frame pointers. A jump stands behind it: fbt of
/// dtrace(1) puts its probes on the first of these instructions, which stays as it is.
const FRAME: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

/// How a function begins that looks at its first argument before it makes its frame, as the
/// optimiser likes it: a jump stands on its first byte.
const EARLY_LOOKS: [&[u8]; 4] = [
    // test %rdi,%rdi; je
    &[0x48, 0x85, 0xff, 0x74],
    // mov disp32(%rdi),%rax
    &[0x48, 0x8b, 0x87],
    // cmpl $imm8,disp32(%rdi)
    &[0x83, 0xbf],
    // testl $imm32,disp32(%rdi)
    &[0xf7, 0x87],
];

/// How a function of the kernel begins.
pub(crate) struct Opening {
    kept: usize,
}

impl Opening {
    /// How many bytes tell.
    pub(crate) const LEN: usize = 4;

    /// What begins with `code`; `None` if no compiler has made that.
    pub(crate) fn of(code: &[u8; Self::LEN]) -> Option<Self> {
        if code.starts_with(&FRAME) {
            Some(Opening { kept: FRAME.len() })
        } else if EARLY_LOOKS.iter().any(|look| code.starts_with(look)) {
            Some(Opening { kept: 0 })
        } else {
            None
        }
    }

    /// The bytes that stay: the jump stands behind them.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// What stands at `place` in place of `stock`, to go to an entry: `None` if that is too far away, or if the
    /// function is redirected already.
    pub(crate) fn jump(&self, place: usize, stock: [u8; JUMP_LEN], entry: usize) -> Option<[u8; JUMP_LEN]> {
        let [first, ..] = stock;
        if first == JUMP || first == BREAKPOINT {
            return None;
        }
        // What stays has made the frame: the entry is to make none.
        let target = entry.checked_add(self.kept)?;
        let distance = target.wrapping_sub(place.checked_add(JUMP_LEN)?).cast_signed();
        let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
        Some([JUMP, a, b, c, d])
    }
}

/// Where a function goes on that is too short for a jump: none is.
pub(crate) fn goes_on(_: usize, _: &[u8]) -> Option<usize> {
    None
}

/// Whether the kernel's text at `address` can be overwritten. It can.
pub(crate) fn is_writable(_: usize) -> bool {
    true
}

/// Overwrites text of the kernel.
///
/// # Safety
///
/// No other CPU runs kernel code, no thread is to go on inside these bytes, and every
/// CPU calls [`serialise`] before it goes on. `bytes` are a jump, or what the kernel was compiled to.
pub(crate) unsafe fn write_text(address: usize, bytes: [u8; JUMP_LEN]) {
    // SAFETY: the caller's; the text is mapped, and writable while WP is off.
    unsafe {
        let wp = sys::disable_wp();
        (address as *mut [u8; JUMP_LEN]).write_volatile(bytes);
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
