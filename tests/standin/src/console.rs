//! printf(9), log(9) and panic(9): the console and the message buffer.

use std::ffi::{c_char, c_int};

use crate::host::{HostLock, say, violation};
use crate::thread::text_of;

static LINES: HostLock<Vec<String>> = HostLock::new(Vec::new());
static LOUD: HostLock<bool> = HostLock::new(false);

/// Copies all further lines to standard error.
pub fn loud() {
    *LOUD.lock() = true;
}

/// Returns the lines since the last call.
pub fn take() -> Vec<String> {
    std::mem::take(&mut *LINES.lock())
}

/// Formats as printf(3) does, for the two conversions that the module uses: `%s` and `%d`.
unsafe fn format(format: *const c_char, arguments: &[usize]) -> String {
    // SAFETY: the caller passes a string as the format.
    let format = unsafe { text_of(format) };
    let mut parts = format.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (part, argument) in parts.zip(arguments) {
        let mut rest = part.chars();
        match rest.next() {
            // SAFETY: the format asks for a string, which the caller has passed.
            Some('s') => text.push_str(&unsafe { text_of(*argument as *const c_char) }),
            Some('d') => text.push_str(&(*argument as u32).cast_signed().to_string()),
            other => violation!(Call, "a format with %{}", other.unwrap_or(' ')),
        }
        text.push_str(rest.as_str());
    }
    text
}

fn print(line: String) {
    if *LOUD.lock() {
        say(line.as_bytes());
    }
    LINES.lock().push(line.trim_end().to_owned());
}

pub(crate) unsafe extern "C" fn printf(text: *const c_char, argument: usize) -> c_int {
    // SAFETY: the caller keeps the contract of this kernel function.
    print(unsafe { format(text, &[argument]) });
    0
}

pub(crate) unsafe extern "C" fn log(_: c_int, text: *const c_char, first: usize, second: usize) {
    // SAFETY: the caller keeps the contract of this kernel function.
    print(unsafe { format(text, &[first, second]) });
}

pub(crate) unsafe extern "C" fn panic(text: *const c_char, argument: usize) -> ! {
    // SAFETY: the caller keeps the contract of this kernel function.
    violation!(Panic, "{}", unsafe { format(text, &[argument]) });
}
