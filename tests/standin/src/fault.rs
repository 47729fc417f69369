//! Faults on the host, which the module causes as a rule. They are reported with the address and
//! the instruction.

use std::ffi::c_void;

use crate::host::{handle, violation};
use crate::machine::interrupted_at;
use crate::{budget, heap, link, pageable, text};

/// Installs the handler that reports faults, and counts single steps.
pub(crate) fn init() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE] {
        // SAFETY: the handler reports the fault, and does not return, or changes a counter.
        unsafe { handle(signal, on_fault, libc::SA_ONSTACK | libc::SA_NODEFER) };
    }
}

unsafe extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the pointers are the handler's own arguments.
    let (address, from, code) =
        unsafe { ((*info).si_addr() as usize, interrupted_at(context), (*info).si_code) };
    if (signal, code) == (libc::SIGTRAP, libc::TRAP_TRACE) {
        return budget::step(from);
    }
    if link::was_unloaded(from) || link::was_unloaded(address) {
        violation!(Text, "a call into text that was unloaded, at {from:#x}");
    }
    if let Some(what) = heap::describe(address) {
        violation!(Memory, "{what} is touched, from {from:#x}");
    }
    if pageable::contains(address) {
        violation!(Sleep, "pageable memory is touched with a mutex held, from {from:#x}");
    }
    if text::contains(address) && signal == libc::SIGSEGV && address != from {
        violation!(Text, "the kernel's text is written to while it is protected");
    }
    violation!(Memory, "signal {signal} at {from:#x}, address {address:#x}");
}
