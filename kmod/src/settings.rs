//! The settings of the stock backend that are honoured here (`sysctl kern.ktrace`).

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::kernel::text::find_symbol;

/// A variable of the kernel, found by its name: a kernel without ktrace has none of them, and
/// a module that named them could not be linked.
struct Setting {
    name: &'static CStr,
    address: AtomicPtr<u32>,
}

/// `kern.ktrace.genio_size`
static GENIO_SIZE: Setting = Setting::named(c"ktr_geniosize");

/// `kern.ktrace.filesize_limit_signal`
static FILESIZE_LIMIT_SIGNAL: Setting = Setting::named(c"ktr_filesize_limit_signal");

/// Looks the settings up; false if the kernel has no ktrace. May sleep.
pub(crate) fn find() -> bool {
    GENIO_SIZE.find() && FILESIZE_LIMIT_SIGNAL.find()
}

/// Most bytes of data in a record.
pub(crate) fn genio_size() -> usize {
    GENIO_SIZE.value() as usize
}

/// Whether a process whose trace file reached its size limit gets SIGXFSZ.
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
        // SAFETY: the address of an int or u_int that the kernel keeps for ever.
        let value = unsafe { AtomicU32::from_ptr(address) };
        value.load(Ordering::Relaxed)
    }
}
