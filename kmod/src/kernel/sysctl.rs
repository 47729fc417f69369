//! Answers to sysctl(9) requests, and the values of other variables.

use core::ffi::{CStr, c_int};

use kernel_sys as sys;
use ktrace_engine::Errno;

use super::context::MaySleep;
use super::proc::CurrentThread;

/// The answer to a request, written piece by piece.
///
/// # Invariants
///
/// The pointer refers to a request whose handler is running and whose buffer is wired.
pub(crate) struct Answer(*mut sys::sysctl_req);

impl Answer {
    /// Begins the answer and wires the caller's buffer, so that no later copy waits for a page. May
    /// sleep while those pages are read in.
    ///
    /// Returns `EFAULT` if the buffer does not exist. A buffer that is too large to be wired is
    /// treated as one of size zero.
    ///
    /// # Safety
    ///
    /// `req` is the request of a running sysctl(9) handler, and outlives the answer.
    pub(crate) unsafe fn begin(_: MaySleep, req: *mut sys::sysctl_req) -> Result<Self, Errno> {
        // SAFETY: the caller guarantees that the request is a handler's, and may sleep. A limit of
        // zero means the size of the buffer.
        match unsafe { sys::sysctl_wire_old_buffer(req, 0) } {
            0 => Ok(Answer(req)),
            errno => Err(Errno(errno)),
        }
    }

    /// Returns whether the caller has passed no buffer, and only asks how large one must be.
    pub(crate) fn is_size_probe(&self) -> bool {
        // SAFETY: the request exists (invariant).
        unsafe { (*self.0).oldptr.is_null() }
    }

    /// Adds bytes. Returns `ENOMEM` if the buffer has no room for all of them. Neither sleeps nor
    /// faults.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        // SAFETY: the request exists (invariant). The kernel sets oldfunc in each request, and
        // oldfunc only reads the bytes.
        let error = unsafe {
            (*self.0).oldfunc.map_or(0, |oldfunc| oldfunc(self.0, bytes.as_ptr().cast(), bytes.len()))
        };
        if error == 0 { Ok(()) } else { Err(Errno(error)) }
    }

    /// Reports how large a buffer must be.
    pub(crate) fn set_size(&mut self, size: usize) {
        // SAFETY: the request exists (invariant). oldidx is the length that oldfunc adds to if
        // there is no buffer.
        unsafe { (*self.0).oldidx = size };
    }
}

/// Returns the value of an int variable, or `None` if the current thread cannot read it. May sleep.
pub(crate) fn int(_: MaySleep, name: &CStr) -> Option<c_int> {
    let (mut value, mut len): (c_int, usize) = (0, size_of::<c_int>());
    // SAFETY: the caller may sleep. The name is only read, and `value` has room for `len` bytes.
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
