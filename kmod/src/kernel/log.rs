//! Messages to dmesg(8) and syslog(3).

use core::fmt::{self, Write};

use kernel_sys as sys;

/// Bytes of the longest line, with the NUL at its end.
const LINE_LEN: usize = 256;

/// Prints `ktrace_rs: `, the text and a newline to the console and the message buffer. Truncates a
/// text that is too long. Does not allocate.
#[inline(never)]
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_LEN], len: 0 };
    // If the text does not fit, its beginning is printed.
    let _ = line.write_fmt(text);
    // SAFETY: the format takes one string, and at least the last byte is still a NUL.
    unsafe { sys::printf(c"ktrace_rs: %s\n".as_ptr(), line.bytes.as_ptr()) };
}

/// A line under construction: text, followed by zeros.
struct Line {
    bytes: [u8; LINE_LEN],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < LINE_LEN).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Logs the stock backend's message for a failed write, which says that tracing has stopped. If the
/// process is now traced to another file (`goes_on`), the message says that earlier records are
/// lost.
pub(crate) fn write_failed(errno: i32, pid: i32, goes_on: bool) {
    let format = match goes_on {
        false => c"ktrace write failed, errno %d, tracing stopped for pid %d\n",
        true => c"ktrace write failed, errno %d, earlier records lost for pid %d\n",
    };
    // SAFETY: each format takes two ints.
    unsafe { sys::log(sys::LOG_NOTICE.cast_signed(), format.as_ptr(), errno, pid) };
}
