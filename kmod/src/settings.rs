//! The settings of the stock backend that the module honours (`sysctl kern.ktrace`).

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::kernel::text::find_symbol;

/// A variable of the kernel, looked up by name. A kernel without ktrace has no such variable, and a
/// module that referenced it could not be linked.
struct Setting {
    name: &'static CStr,
    address: AtomicPtr<u32>,
}

/// `kern.ktrace.genio_size`
static GENIO_SIZE: Setting = Setting::named(c"ktr_geniosize");

/// `kern.ktrace.filesize_limit_signal`
static FILESIZE_LIMIT_SIGNAL: Setting = Setting::named(c"ktr_filesize_limit_signal");

/// Looks up the settings. Returns false if the kernel has no ktrace. May sleep.
pub(crate) fn find() -> bool {
    GENIO_SIZE.find() && FILESIZE_LIMIT_SIGNAL.find()
}

/// Returns the maximum length of a record's data in bytes.
pub(crate) fn genio_size() -> usize {
    GENIO_SIZE.value() as usize
}

/// Returns whether a process gets SIGXFSZ when its trace file has reached the size limit.
pub(crate) fn filesize_limit_signal() -> bool {
    FILESIZE_LIMIT_SIGNAL.value() != 0
}

impl Setting {
    const fn named(name: &'static CStr) -> Self {
        Setting { name, address: AtomicPtr::new(core::ptr::null_mut()) }
    }

    fn find(&self) -> bool {
        let address = find_symbol(self.name);
        self.address.store(address.unwrap_or(0) as *mut u32, Ordering::Release);
        address.is_some()
    }

    fn value(&self) -> u32 {
        let address = self.address.load(Ordering::Acquire);
        if address.is_null() {
            return 0;
        }
        // SAFETY: the address is that of an int or u_int that the kernel never frees.
        let value = unsafe { AtomicU32::from_ptr(address) };
        value.load(Ordering::Relaxed)
    }
}
