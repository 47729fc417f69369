//! The kernel's text: finding functions in it, and writing detours into them.

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
    /// Looks a function of the kernel up. May sleep: takes the linker's lock.
    pub(crate) fn find(name: &CStr) -> Option<Function> {
        let address = find_symbol(name)?;
        let Symbol { size, .. } = Symbol::at(address)?;
        Some(Function { address, size })
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.address.saturating_add(self.size)
    }

    /// Its bytes.
    fn code(&self) -> &[u8] {
        // SAFETY: invariant; text of the kernel can be read.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.size) }
    }

    /// The function as a place for a detour.
    pub(crate) fn site<'a>(&'a self, backend: &'a Range<usize>, island: Option<usize>) -> Site<'a> {
        Site { code: self.code(), address: self.address, backend, island }
    }

    /// Its first bytes, eight at most, for a message.
    pub(crate) fn opening(&self) -> &[u8] {
        self.code().get(..8).unwrap_or(self.code())
    }

    /// The patch that writes a jump `offset` bytes behind the beginning of the function.
    pub(crate) fn jump(&self, offset: usize, new: Code) -> Option<Patch> {
        let address = self.address.checked_add(offset)?;
        // A thread at its first instruction has not begun it.
        let inside = address.checked_add(1)?..address.checked_add(new.bytes().len())?;
        let stock = Code::new(self.code().get(offset..)?, new.bytes().len())?;
        Some(Patch { address, stock, new, inside })
    }

    /// The patch that writes code to an island in the function.
    pub(crate) fn island(&self, address: usize, new: Code) -> Option<Patch> {
        let patch = self.jump(address.checked_sub(self.address)?, new)?;
        let inside = address..patch.inside.end;
        Some(Patch { inside, ..patch })
    }
}

/// Code of the module's in the kernel's text.
///
/// # Invariants
///
/// `address` is inside a function of the kernel, which has as many bytes from there as `stock` and `new`.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    address: usize,
    stock: Code,
    new: Code,
    inside: Range<usize>,
}

impl Patch {
    /// The addresses at which a thread is about to run the rest of the code.
    pub(crate) fn inside(&self) -> Range<usize> {
        self.inside.clone()
    }

    /// Whether the kernel's text can be overwritten there. Any context.
    pub(crate) fn is_writable(&self) -> bool {
        is_writable(self.address) && is_writable(self.inside.end.saturating_sub(1))
    }

    /// Whether the module's code stands there. Any context.
    pub(crate) fn stands(&self) -> bool {
        self.has(&self.new)
    }

    /// Whether the kernel's own code stands there. Any context.
    pub(crate) fn is_stock(&self) -> bool {
        self.has(&self.stock)
    }

    fn has(&self, code: &Code) -> bool {
        (self.address..).zip(code.bytes()).all(|(address, byte)| {
            // SAFETY: invariant; text of the kernel can be read.
            unsafe { (address as *const u8).read_volatile() == *byte }
        })
    }

    /// Writes the module's code.
    ///
    /// # Safety
    ///
    /// The place can be overwritten. No other CPU runs kernel code, no thread is to go on inside the place, and every
    /// CPU serialises before it goes on.
    pub(crate) unsafe fn write(&self) {
        // SAFETY: the caller's.
        unsafe { write_text(self.address, &self.new) };
    }

    /// Writes the kernel's own code.
    ///
    /// # Safety
    ///
    /// As for [`Patch::write`].
    pub(crate) unsafe fn restore(&self) {
        // SAFETY: the caller's.
        unsafe { write_text(self.address, &self.stock) };
    }
}

/// Calls `visit` with the name and the address of each function of the kernel, static ones among them, until that returns
/// an error. May sleep.
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
        // SAFETY: the linker hands on the Call of each_function(), which waits for this, and the values of a symbol, whose
        // name is a string.
        let (call, name, address) = unsafe {
            (&mut *call.cast::<Call<F, E>>(), CStr::from_ptr((*values).name), (*values).value as usize)
        };
        call.result = (call.visit)(name, address);
        c_int::from(call.result.is_err())
    }

    fn run<E, F: FnMut(&CStr, usize) -> Result<(), E>>(call: &mut Call<F, E>) {
        // SAFETY: the kernel's own file is there from boot to reboot, and its symbols do not change.
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

/// What the linker knows of a symbol of the kernel.
pub(crate) struct Symbol {
    /// Its size in bytes.
    pub(crate) size: usize,
    /// Only its own file names it.
    pub(crate) is_static: bool,
}

impl Symbol {
    /// Looks up the symbol of an address; `None` if none begins there. Any context.
    pub(crate) fn at(address: usize) -> Option<Symbol> {
        let mut symbol = core::ptr::null();
        let mut offset = 0;
        let mut values = MaybeUninit::<sys::linker_symval_t>::zeroed();
        // SAFETY: out parameters of the right types; a symbol that was found stays, as the
        // kernel's own file is never unloaded.
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

/// The address of a symbol of the kernel; static ones are found, too, unless debug.link_elf_leak_locals is off. May sleep:
/// takes the linker's lock.
pub(crate) fn find_symbol(name: &CStr) -> Option<usize> {
    // SAFETY: the kernel's own file is there from boot to reboot.
    let address = unsafe { sys::linker_file_lookup_symbol(sys::linker_kernel_file, name.as_ptr(), 0) };
    (!address.is_null()).then_some(address as usize)
}
