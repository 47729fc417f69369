//! The way from a function of the kernel to its replacement in this module.
//!
//! A redirected function jumps to an entry. The entry counts the thread in, calls the replacement
//! with unchanged registers, and counts the thread out again. The module therefore knows when a
//! thread is inside it. The count misses a thread that was interrupted in the few instructions of
//! an entry before or after it is counted. [`uncounted`] finds such a thread by its address. The
//! code of an entry belongs to the [machine](crate::machine).

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel_sys as sys;

use crate::kernel::counter::CpuCounter;
use crate::kernel::event::OnExit;
use crate::machine::{UNCOUNTED, counter_u64_add, entry_code};
use crate::{life, points, release, syscalls};

/// The counter(9) of threads inside the module; set before any entry is used.
pub(crate) static INSIDE: AtomicPtr<u64> = AtomicPtr::new(core::ptr::null_mut());

/// Makes the entries count with `counter`, which must live as long as they are used.
pub(crate) fn count_with(counter: &CpuCounter) {
    INSIDE.store(counter.as_ptr(), Ordering::Release);
}

/// Runs `work` with the thread counted as inside the module, like the entries.
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> R {
    let counter = INSIDE.load(Ordering::Acquire);
    // SAFETY: count_with() was called before any thread runs this.
    unsafe { counter_u64_add(counter, 1) };
    let result = work();
    // SAFETY: as above; the counter lives until the count is zero.
    unsafe { counter_u64_add(counter, -1) };
    result
}

/// A redirected function of the kernel.
pub(crate) struct Entry {
    /// The function's name.
    pub(crate) stock: &'static CStr,
    /// The entry that the function jumps to.
    pub(crate) code: unsafe extern "C" fn(),
    /// True if some kernels of the release lack the function.
    pub(crate) is_optional: bool,
}

impl Entry {
    /// Returns the function's name as text.
    pub(crate) fn name(&self) -> &'static str {
        self.stock.to_str().unwrap_or_default()
    }
}

/// A table of entries, `ENTRIES`. Some kernels lack the functions that are marked `optional`. The
/// compiler checks that a replacement has the signature of the stock function, as declared in the
/// headers.
macro_rules! entries {
    ($($stock:ident / $code:ident => $body:path $(, $optional:ident)?;)*) => {
        $(
            $crate::machine::entry_code!($code => $body);
            const _: () = {
                let _same_signature = [kernel_sys::$stock, $body];
            };
        )*

        /// Functions of `kern_ktrace.c` that other parts of the kernel call.
        pub(crate) static ENTRIES: [$crate::entry::Entry; <[&str]>::len(&[$(stringify!($stock)),*])] = [
            $($crate::entry::Entry {
                stock: match core::ffi::CStr::from_bytes_with_nul(
                    concat!(stringify!($stock), "\0").as_bytes(),
                ) {
                    Ok(name) => name,
                    Err(_) => panic!("a name has no NUL"),
                },
                code: $code,
                is_optional: !<[&str]>::is_empty(&[$(stringify!($optional))?]),
            }),*
        ];
    };
}
pub(crate) use entries;

/// The entries for all functions that this release of the kernel has.
pub(crate) fn all_entries() -> impl Iterator<Item = &'static Entry> {
    let entries = ENTRIES.iter().chain(&release::ENTRIES);
    // For the test of a kernel that has one function more than the module knows.
    entries.filter(|entry| !cfg!(feature = "test-missing-entry") || entry.stock != c"ktrsysctl")
}

// The functions that all releases have.
entries! {
    ktr_get_tracevp / enter_get_tracevp => life::ktr_get_tracevp;
    ktr_io_params_free / enter_io_params_free => life::ktr_io_params_free;
    ktrcapfail / enter_capfail => points::ktrcapfail;
    ktrcsw / enter_csw => points::ktrcsw;
    ktrfault / enter_fault => points::ktrfault;
    ktrfaultend / enter_faultend => points::ktrfaultend;
    ktrgenio / enter_genio => points::ktrgenio;
    ktrnamei / enter_namei => points::ktrnamei;
    ktrprocctor / enter_procctor => life::ktrprocctor;
    ktrprocexec / enter_procexec => life::ktrprocexec;
    ktrprocexit / enter_procexit => life::ktrprocexit;
    ktrprocfork / enter_procfork => life::ktrprocfork;
    ktrpsig / enter_psig => points::ktrpsig;
    ktrstruct / enter_struct => points::ktrstruct;
    ktrstruct_error / enter_struct_error => points::ktrstruct_error;
    ktrstructarray / enter_structarray => points::ktrstructarray;
    ktrsyscall / enter_syscall => points::ktrsyscall;
    ktrsysctl / enter_sysctl => points::ktrsysctl;
    ktrsysret / enter_sysret => points::ktrsysret;
    ktruserret / enter_userret => life::ktruserret;
    sys_ktrace / enter_ktrace => syscalls::sys_ktrace;
    sys_utrace / enter_utrace => syscalls::sys_utrace;
}

entry_code!(enter_ast => life::ast_drain);

/// The handler for `TDA_MOD1` of ast(9).
pub(crate) const AST_HANDLER: unsafe extern "C" fn(*mut sys::thread, i32) =
    // SAFETY: the entry passes its arguments on to ast_drain(), which has this signature.
    unsafe { core::mem::transmute::<unsafe extern "C" fn(), _>(enter_ast as unsafe extern "C" fn()) };
const _: [unsafe extern "C" fn(*mut sys::thread, i32); 1] = [life::ast_drain];

entry_code!(enter_exit => life::process_exit);

/// The handler for `process_exit` of eventhandler(9).
pub(crate) const EXIT_HANDLER: OnExit =
    // SAFETY: the entry passes its arguments on to process_exit(), which has this signature.
    unsafe { core::mem::transmute::<unsafe extern "C" fn(), _>(enter_exit as unsafe extern "C" fn()) };
const _: [OnExit; 1] = [life::process_exit];

/// Returns a test for addresses in an entry at which the thread is not counted. One comparison
/// rejects most addresses, which are in no entry.
pub(crate) fn uncounted() -> impl Fn(usize) -> bool {
    let handlers = [enter_ast as *const () as usize, enter_exit as *const () as usize];
    let codes = move || all_entries().map(|entry| entry.code as usize).chain(handlers);
    let last = codes().max().unwrap_or_default().saturating_add(*UNCOUNTED[1].end());
    let all = codes().min().unwrap_or_default()..=last;
    move |address| {
        all.contains(&address)
            && codes()
                .filter_map(|code| address.checked_sub(code))
                .any(|offset| UNCOUNTED.iter().any(|range| range.contains(&offset)))
    }
}
