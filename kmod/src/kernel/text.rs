//! The kernel's text: looking up functions, and patching detours into them.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ops::Range;

use kernel_sys as sys;

use super::context::MaySleep;
use crate::machine::{Code, Site, is_writable, write_text};

/// A function of the kernel.
///
/// # Invariants
///
/// The kernel's own file, which is never unloaded, has `size` bytes of code at `address`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    address: usize,
    size: usize,
}

impl Function {
    /// Looks up a function of the kernel. Takes the linker's lock. May sleep.
    pub(crate) fn find(name: &CStr) -> Option<Function> {
        let address = find_symbol(name)?;
        let Symbol { size, .. } = Symbol::at(address)?;
        Some(Function { address, size })
    }

    /// Returns the address at which the function begins.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Returns the address at which the function ends.
    pub(crate) fn end(&self) -> usize {
        self.address.saturating_add(self.size)
    }

    /// Returns the bytes of the function.
    fn code(&self) -> &[u8] {
        // SAFETY: the code exists (invariant), and the kernel's text can be read.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.size) }
    }

    /// Returns the function as a place for a detour.
    pub(crate) fn site<'a>(&'a self, backend: &'a Range<usize>, island: Option<usize>) -> Site<'a> {
        Site { code: self.code(), address: self.address, backend, island }
    }

    /// Returns the first bytes of the function, at most eight, for a message.
    pub(crate) fn opening(&self) -> &[u8] {
        self.code().get(..8).unwrap_or(self.code())
    }

    /// Returns the patch that writes a jump `offset` bytes behind the beginning of the function.
    pub(crate) fn jump(&self, offset: usize, new: Code) -> Option<Patch> {
        let address = self.address.checked_add(offset)?;
        // A thread at the first instruction of the jump has not begun it.
        let inside = address.checked_add(1)?..address.checked_add(new.bytes().len())?;
        let stock = Code::new(self.code().get(offset..)?, new.bytes().len())?;
        Some(Patch { address, stock, new, inside })
    }

    /// Returns the patch that writes code to an island in the function.
    pub(crate) fn island(&self, address: usize, new: Code) -> Option<Patch> {
        let patch = self.jump(address.checked_sub(self.address)?, new)?;
        let inside = address..patch.inside.end;
        Some(Patch { inside, ..patch })
    }
}

/// A patch: code that the module writes into the kernel's text.
///
/// # Invariants
///
/// `address` lies in a function of the kernel. From there on, the function has as many bytes as
/// `stock` and `new`.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    address: usize,
    stock: Code,
    new: Code,
    inside: Range<usize>,
}

impl Patch {
    /// Returns the addresses at which a thread still has to run the rest of the new code.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.inside.clone()
    }

    /// Returns whether the kernel's text can be overwritten by the patch. Any context.
    pub(crate) fn is_writable(&self) -> bool {
        is_writable(self.address) && is_writable(self.inside.end.saturating_sub(1))
    }

    /// Returns whether the module's code is in place. Any context.
    pub(crate) fn stands(&self) -> bool {
        self.has(&self.new)
    }

    /// Returns whether the kernel's own code is in place. Any context.
    pub(crate) fn is_stock(&self) -> bool {
        self.has(&self.stock)
    }

    fn has(&self, code: &Code) -> bool {
        (self.address..).zip(code.bytes()).all(|(address, byte)| {
            // SAFETY: the code exists (invariant), and the kernel's text can be read.
            unsafe { (address as *const u8).read_volatile() == *byte }
        })
    }

    /// Writes the module's code.
    ///
    /// # Safety
    ///
    /// The place can be overwritten. No other CPU runs kernel code, no thread resumes inside the
    /// place, and each CPU serialises before it continues.
    pub(crate) unsafe fn write(&self) {
        // SAFETY: the caller guarantees the conditions of write_text() on the place. `new` is code
        // of a detour.
        unsafe { write_text(self.address, &self.new) };
    }

    /// Writes the kernel's own code.
    ///
    /// # Safety
    ///
    /// As for [`Patch::write`].
    pub(crate) unsafe fn restore(&self) {
        // SAFETY: the caller guarantees the conditions of write_text() on the place. `stock` is the
        // kernel's own code.
        unsafe { write_text(self.address, &self.stock) };
    }
}

/// Calls `visit` with the name and the address of each kernel function, including static ones,
/// until it returns an error. Returns that error. May sleep.
pub(crate) fn each_function<E>(
    _: MaySleep,
    visit: impl FnMut(&CStr, usize) -> Result<(), E>,
) -> Result<(), E> {
    struct Call<F, E> {
        visit: F,
        result: Result<(), E>,
    }

    unsafe extern "C" fn each<E, F: FnMut(&CStr, usize) -> Result<(), E>>(
        _: sys::linker_file_t,
        _: c_int,
        values: *mut sys::linker_symval_t,
        call: *mut c_void,
    ) -> c_int {
        // SAFETY: the linker passes on the Call of each_function(), which waits for this function.
        // It also passes the values of a symbol, whose name is a string.
        let (call, name, address) = unsafe {
            (&mut *call.cast::<Call<F, E>>(), CStr::from_ptr((*values).name), (*values).value as usize)
        };
        call.result = (call.visit)(name, address);
        c_int::from(call.result.is_err())
    }

    fn run<E, F: FnMut(&CStr, usize) -> Result<(), E>>(call: &mut Call<F, E>) {
        // SAFETY: the kernel's own file exists from boot to reboot, and its symbols do not change.
        unsafe {
            sys::linker_file_function_listall(
                sys::linker_kernel_file,
                Some(each::<E, F>),
                (&raw mut *call).cast(),
            );
        }
    }

    let mut call = Call { visit, result: Ok(()) };
    run(&mut call);
    call.result
}

/// The linker's knowledge of a kernel symbol.
pub(crate) struct Symbol {
    /// Size in bytes.
    pub(crate) size: usize,
    /// Whether the symbol is static: only its own source file can name it.
    pub(crate) is_static: bool,
}

impl Symbol {
    /// Looks up the symbol that begins at an address. Returns `None` if there is none. Any context.
    pub(crate) fn at(address: usize) -> Option<Symbol> {
        let mut symbol = core::ptr::null();
        let mut offset = 0;
        let mut values = MaybeUninit::<sys::linker_symval_t>::zeroed();
        // SAFETY: the out parameters have the right types. A symbol that was found stays, because
        // the kernel's own file is never unloaded.
        unsafe {
            if sys::linker_ddb_search_symbol(address as *mut c_char, &raw mut symbol, &raw mut offset) != 0
                || offset != 0
                || sys::linker_ddb_symbol_values(symbol, values.as_mut_ptr()) != 0
            {
                return None;
            }
            let is_static = sys::ktrace_rs_is_static(symbol, values.as_ptr());
            Some(Symbol { size: values.assume_init().size, is_static })
        }
    }
}

/// Returns the address of a kernel symbol. Static symbols are found, too, unless
/// debug.link_elf_leak_locals is off. Takes the linker's lock. May sleep.
pub(crate) fn find_symbol(name: &CStr) -> Option<usize> {
    // SAFETY: the kernel's own file exists from boot to reboot.
    let address = unsafe { sys::linker_file_lookup_symbol(sys::linker_kernel_file, name.as_ptr(), 0) };
    (!address.is_null()).then_some(address as usize)
}
