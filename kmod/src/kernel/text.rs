//! The kernel's text: finding functions in it, and writing jumps into it.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ops::Range;

use kernel_sys as sys;

/// Length of `jmp rel32`.
pub(crate) const JUMP_LEN: usize = 5;

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

    /// The jump from there to `target`; `None` if that is too far away.
    pub(crate) fn jump_to(&self, target: usize) -> Option<[u8; JUMP_LEN]> {
        let from = self.address.checked_add(JUMP_LEN)?;
        let distance = i32::try_from(target.wrapping_sub(from).cast_signed()).ok()?;
        let [a, b, c, d] = distance.to_le_bytes();
        Some([0xe9, a, b, c, d])
    }

    /// Overwrites what stands there.
    ///
    /// # Safety
    ///
    /// No other CPU runs kernel code, no thread is to go on inside these bytes, and every
    /// CPU serialises before it goes on. `bytes` are a jump, or what the kernel was compiled to.
    pub(crate) unsafe fn write(&self, bytes: [u8; JUMP_LEN]) {
        // SAFETY: the caller's; the text is mapped, and writable while WP is off.
        unsafe {
            let wp = sys::disable_wp();
            (self.address as *mut [u8; JUMP_LEN]).write_volatile(bytes);
            sys::restore_wp(wp);
        }
    }
}

/// The address of a symbol of the kernel. May sleep: takes the linker's lock.
pub(crate) fn find_symbol(name: &CStr) -> Option<usize> {
    // SAFETY: the kernel's own file is there from boot to reboot.
    let address = unsafe { sys::linker_file_lookup_symbol(sys::linker_kernel_file, name.as_ptr(), 0) };
    (!address.is_null()).then_some(address as usize)
}
