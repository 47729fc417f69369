//! Lines for dmesg(8) and syslog(3).

use alloc::ffi::CString;
use alloc::string::String;
use core::fmt::{self, Write};

use kernel_sys as sys;

/// Prints `ktrace_rs: `, the text and a newline to the console and the message buffer.
///
/// Allocates, and so may sleep.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let mut line = String::new();
    // Writing to a String does not fail.
    let _ = line.write_fmt(text);
    if let Ok(line) = CString::new(line) {
        // SAFETY: the format asks for one string, which ends with a NUL.
        unsafe { sys::printf(c"ktrace_rs: %s\n".as_ptr(), line.as_ptr()) };
    }
}

/// The line of the stock backend for a trace that could not be written.
pub(crate) fn write_failed(errno: i32, pid: i32) {
    // SAFETY: the format asks for two ints.
    unsafe {
        sys::log(
            sys::LOG_NOTICE.cast_signed(),
            c"ktrace write failed, errno %d, tracing stopped for pid %d\n".as_ptr(),
            errno,
            pid,
        );
    }
}
