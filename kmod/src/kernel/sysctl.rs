//! sysctl(9): answers to a request, and the values of other variables.

use core::ffi::{CStr, c_int};

use kernel_sys as sys;
use ktrace_engine::Errno;

use super::context::MaySleep;
use super::proc::CurrentThread;

/// The answer to a request, given piece by piece.
///
/// # Invariants
///
/// The pointer is to a request whose handler runs, and whose buffer is wired.
pub(crate) struct Answer(*mut sys::sysctl_req);

impl Answer {
    /// Begins the answer, and wires the caller's buffer: later on no page of it has to be waited for. May sleep,
    /// as long as it takes to read those pages.
    ///
    /// `EFAULT` where there is no such buffer. A buffer that is too large to be wired is like one of no size.
    ///
    /// # Safety
    ///
    /// `req` is the request of a handler of sysctl(9), which outlives the answer.
    pub(crate) unsafe fn begin(_: MaySleep, req: *mut sys::sysctl_req) -> Result<Self, Errno> {
        // SAFETY: the request is the handler's, which may sleep. Zero is no other limit than the buffer's size.
        match unsafe { sys::sysctl_wire_old_buffer(req, 0) } {
            0 => Ok(Answer(req)),
            errno => Err(Errno(errno)),
        }
    }

    /// Returns whether the caller has no buffer, and asks how large one has to be.
    pub(crate) fn is_size_probe(&self) -> bool {
        // SAFETY: invariant.
        unsafe { (*self.0).oldptr.is_null() }
    }

    /// Adds bytes; `ENOMEM` where the buffer has no room for all of them. Neither sleeps nor faults.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        // SAFETY: invariant; the kernel sets the function in each request, and it only reads the bytes.
        let error = unsafe {
            (*self.0).oldfunc.map_or(0, |oldfunc| oldfunc(self.0, bytes.as_ptr().cast(), bytes.len()))
        };
        if error == 0 { Ok(()) } else { Err(Errno(error)) }
    }

    /// Says how large a buffer has to be.
    pub(crate) fn set_size(&mut self, size: usize) {
        // SAFETY: invariant; what the function adds to where there is no buffer.
        unsafe { (*self.0).oldidx = size };
    }
}

/// The value of a variable that is an int; `None` where the current thread cannot read it. May sleep.
pub(crate) fn int(_: MaySleep, name: &CStr) -> Option<c_int> {
    let (mut value, mut len): (c_int, usize) = (0, size_of::<c_int>());
    // SAFETY: the caller may sleep; the name is only read, and there is room for as many bytes as is said.
    let error = unsafe {
        sys::kernel_sysctlbyname(
            CurrentThread::get().as_ptr(),
            name.as_ptr().cast_mut(),
            (&raw mut value).cast(),
            &raw mut len,
            core::ptr::null_mut(),
            0,
            core::ptr::null_mut(),
            0,
        )
    };
    (error == 0).then_some(value)
}
