//! The kernel's text: finding functions in it, and writing jumps into it.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ops::Range;

use kernel_sys as sys;

use crate::machine::{INSIDE_JUMP, JUMP_LEN, goes_on, is_writable, write_text};

/// A function of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    address: usize,
    size: usize,
}

impl Function {
    /// Looks a function of the kernel up. May sleep: takes the linker's lock.
    pub(crate) fn find(name: &CStr) -> Option<Function> {
        let address = find_symbol(name)?;
        let mut symbol = core::ptr::null();
        let mut offset = 0;
        let mut values = MaybeUninit::<sys::linker_symval_t>::zeroed();
        // SAFETY: out parameters of the right types; a symbol that was found stays, as the
        // kernel's own file is never unloaded.
        let size = unsafe {
            if sys::linker_ddb_search_symbol(address as *mut c_char, &raw mut symbol, &raw mut offset) != 0
                || offset != 0
                || sys::linker_ddb_symbol_values(symbol, values.as_mut_ptr()) != 0
            {
                return None;
            }
            values.assume_init().size
        };
        Some(Function { address, size })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Where it goes on, if it is too short for a jump and does nothing but look whether it goes on.
    pub(crate) fn goes_on(&self) -> Option<usize> {
        if self.size >= JUMP_LEN {
            return None;
        }
        // SAFETY: kernel text can be read, and the function is that long.
        let code = unsafe { core::slice::from_raw_parts(self.address as *const u8, self.size) };
        goes_on(self.address, code)
    }

    /// The addresses at which a thread is inside it: all but the first, where it has not begun.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.address.saturating_add(1)..self.address.saturating_add(self.size)
    }

    /// Its first bytes; `None` if it is shorter.
    pub(crate) fn opening<const N: usize>(&self) -> Option<[u8; N]> {
        if self.size < N {
            return None;
        }
        // SAFETY: kernel text can be read, and the function is that long.
        Some(unsafe { (self.address as *const [u8; N]).read() })
    }

    /// The place in it for a jump, `offset` bytes from the start; `None` if it is too short.
    pub(crate) fn place(&self, offset: usize) -> Option<Place> {
        let fits = offset.checked_add(JUMP_LEN).is_some_and(|end| end <= self.size);
        fits.then_some(Place { address: self.address.checked_add(offset)? })
    }
}

/// Room for a jump in a function of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    address: usize,
}

impl Place {
    /// What stands there.
    pub(crate) fn read(&self) -> [u8; JUMP_LEN] {
        // SAFETY: kernel text can be read, and the place is inside a function.
        unsafe { (self.address as *const [u8; JUMP_LEN]).read_volatile() }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// The addresses at which a thread is inside a jump that stands there.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.address.saturating_add(INSIDE_JUMP.start)..self.address.saturating_add(INSIDE_JUMP.end)
    }

    /// Whether it can be overwritten. Any context.
    pub(crate) fn is_writable(&self) -> bool {
        is_writable(self.address)
    }

    /// Overwrites what stands there.
    ///
    /// # Safety
    ///
    /// It can be. No other CPU runs kernel code, no thread is to go on inside these bytes, and every
    /// CPU serialises before it goes on. `bytes` are a jump, or what the kernel was compiled to.
    pub(crate) unsafe fn write(&self, bytes: [u8; JUMP_LEN]) {
        // SAFETY: the caller's.
        unsafe { write_text(self.address, bytes) };
    }
}

/// The address of a symbol of the kernel. May sleep: takes the linker's lock.
pub(crate) fn find_symbol(name: &CStr) -> Option<usize> {
    // SAFETY: the kernel's own file is there from boot to reboot.
    let address = unsafe { sys::linker_file_lookup_symbol(sys::linker_kernel_file, name.as_ptr(), 0) };
    (!address.is_null()).then_some(address as usize)
}
