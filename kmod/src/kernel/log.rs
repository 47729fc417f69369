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

/// A trace could not be written: the line of the stock backend, which says that tracing
/// stopped; or, where the process is traced to another file meanwhile, that records are lost.
pub(crate) fn write_failed(errno: i32, pid: i32, goes_on: bool) {
    let format = match goes_on {
        false => c"ktrace write failed, errno %d, tracing stopped for pid %d\n",
        true => c"ktrace write failed, errno %d, earlier records lost for pid %d\n",
    };
    // SAFETY: the formats ask for two ints.
    unsafe { sys::log(sys::LOG_NOTICE.cast_signed(), format.as_ptr(), errno, pid) };
}
