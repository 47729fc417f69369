//! The panic handler. A panic in Rust code is a panic of the kernel.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use kernel_sys as sys;

/// A text truncated to the size of the buffer, which always ends with a NUL.
struct Message {
    text: [u8; 256],
    len: usize,
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let last = self.text.len().saturating_sub(1);
            match self.text.get_mut(self.len) {
                Some(slot) if self.len < last => *slot = byte,
                _ => return Err(fmt::Error),
            }
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut message = Message { text: [0; 256], len: 0 };
    // A message that does not fit is truncated.
    let _ = write!(message, "{info}");
    // SAFETY: the format takes one string, which ends with a NUL.
    unsafe { sys::panic(c"ktrace_rs: %s".as_ptr(), message.text.as_ptr()) }
}
