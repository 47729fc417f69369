//! Lines for dmesg(8) and syslog(3).

use core::fmt::{self, Write};

use kernel_sys as sys;

/// Bytes of the longest line, and the NUL at its end.
const LINE_LEN: usize = 256;

/// Prints `ktrace_rs: `, the text and a newline to the console and the message buffer; of a text that is
/// too long, what there is room for. Does not allocate.
#[inline(never)]
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE_LEN], len: 0 };
    // What was written is printed.
    let _ = line.write_fmt(text);
    // SAFETY: the format asks for one string, and at least the last byte is still a NUL.
    unsafe { sys::printf(c"ktrace_rs: %s\n".as_ptr(), line.bytes.as_ptr()) };
}

/// A line as it is written: text, and zeros behind it.
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
