//! What each CPU has of its own (sys/pcpu.h): `%gs` points to the `struct pcpu` of the one that runs.

use core::arch::asm;
use core::mem::offset_of;

use kernel_sys as sys;

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
