//! The way from a function of the kernel to its replacement in this module.
//!
//! A redirected function jumps to an entry. An entry counts the thread in, calls the
//! replacement with the registers as they are, and counts it out again. So the module
//! knows when a thread is inside it; but for a thread that was interrupted in the entry's
//! few instructions before or after it is counted, which [`is_uncounted`] tells by their
//! addresses.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel_sys as sys;

use crate::kernel::counter::CpuCounter;
use crate::{life, points, syscalls};

/// The counter of threads inside the module (counter(9)); set before any entry is used.
static INSIDE: AtomicPtr<u64> = AtomicPtr::new(core::ptr::null_mut());

/// Has the entries count with `counter`, which must live until they are not used any more.
pub(crate) fn count_with(counter: &CpuCounter) {
    INSIDE.store(counter.as_ptr(), Ordering::Release);
}

/// Runs `work` with the thread counted as one inside the module, as the entries do.
pub(crate) fn counted<R>(work: impl FnOnce() -> R) -> R {
    let counter = INSIDE.load(Ordering::Acquire);
    // SAFETY: count_with() was called before any thread comes here.
    unsafe { sys::ktrace_rs_counter_u64_add(counter, 1) };
    let result = work();
    // SAFETY: as above; the counter lives until the count is zero.
    unsafe { sys::ktrace_rs_counter_u64_add(counter, -1) };
    result
}

/// A function of the kernel that is redirected.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) stock: &'static CStr,
    /// Code that it jumps to.
    pub(crate) code: unsafe extern "C" fn(),
    /// Where in it the jump stands.
    pub(crate) at: At,
}

/// Where a jump stands in a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Behind the instructions that make its frame, [`FRAME`]. fbt of dtrace(1) puts its probes
    /// on the first of them, which stays as it is.
    Frame,
    /// On its first byte, as the compiler may make the frame later.
    Start,
}

/// `push %rbp; mov %rsp,%rbp`: kernels keep frame pointers.
pub(crate) const FRAME: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// `test %rdi,%rdi; je`: a null argument is looked for before the frame is made.
pub(crate) const TEST_RDI: [u8; 4] = [0x48, 0x85, 0xff, 0x74];

/// Length of the instructions of [`FRAME`] in an entry that makes its own frame.
const FRAME_LEN: usize = FRAME.len();
/// Offset, behind the frame, of the instruction that counts in: up to it, its thread is not
/// counted.
const COUNT_IN: usize = 7;
/// Offset, behind the frame, of the first instruction after the one that counts out, and of
/// the last one of all.
const COUNTED_OUT: usize = 27;
const RETURN: usize = 28;

/// An entry to `$body`, with its own frame if it starts with `$frame`. The sizes of its
/// instructions are those that the constants above say, which the assembler checks.
macro_rules! entry_code {
    ($name:ident => $body:path $(, $frame:literal)*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                $($frame,)*
                "2:",
                "mov r11, qword ptr [rip + {inside}]",
                "3:",
                "inc qword ptr gs:[r11]",
                "call {body}",
                "mov r11, qword ptr [rip + {inside}]",
                "dec qword ptr gs:[r11]",
                "4:",
                "pop rbp",
                "5:",
                "ret",
                ".if (3b - 2b) != {count_in}",
                ".error \"the entry does not count in where entry.rs says\"",
                ".endif",
                ".if (4b - 2b) != {counted_out} || (5b - 2b) != {ret}",
                ".error \"the entry does not count out where entry.rs says\"",
                ".endif",
                inside = sym INSIDE,
                body = sym $body,
                count_in = const COUNT_IN,
                counted_out = const COUNTED_OUT,
                ret = const RETURN,
            )
        }
    };
}

/// The table of entries. That a replacement has the signature of the stock function, as
/// the headers declare it, is checked by the compiler.
macro_rules! entries {
    ($($stock:ident / $code:ident => $body:path, $at:expr $(, $frame:literal)*;)*) => {
        $(
            entry_code!($code => $body $(, $frame)*);
            const _: () = {
                let _same_signature = [sys::$stock, $body];
            };
        )*

        /// Every function of `kern_ktrace.c` that other parts of the kernel call.
        pub(crate) static ENTRIES: [Entry; [$(stringify!($stock)),*].len()] = [
            $(Entry {
                stock: match CStr::from_bytes_with_nul(concat!(stringify!($stock), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a name has no NUL"),
                },
                code: $code,
                at: $at,
            }),*
        ];
    };
}

entries! {
    ktr_get_tracevp / enter_get_tracevp => life::ktr_get_tracevp, At::Frame;
    ktr_io_params_free / enter_io_params_free => life::ktr_io_params_free, At::Start, "push rbp", "mov rbp, rsp";
    ktrcapfail / enter_capfail => points::ktrcapfail, At::Frame;
    ktrcsw / enter_csw => points::ktrcsw, At::Frame;
    ktrfault / enter_fault => points::ktrfault, At::Frame;
    ktrfaultend / enter_faultend => points::ktrfaultend, At::Frame;
    ktrgenio / enter_genio => points::ktrgenio, At::Frame;
    ktrnamei / enter_namei => points::ktrnamei, At::Frame;
    ktrprocctor / enter_procctor => life::ktrprocctor, At::Frame;
    ktrprocexec / enter_procexec => life::ktrprocexec, At::Frame;
    ktrprocexit / enter_procexit => life::ktrprocexit, At::Frame;
    ktrprocfork / enter_procfork => life::ktrprocfork, At::Frame;
    ktrpsig / enter_psig => points::ktrpsig, At::Frame;
    ktrstruct / enter_struct => points::ktrstruct, At::Frame;
    ktrstruct_error / enter_struct_error => points::ktrstruct_error, At::Frame;
    ktrstructarray / enter_structarray => points::ktrstructarray, At::Frame;
    ktrsyscall / enter_syscall => points::ktrsyscall, At::Frame;
    ktrsysctl / enter_sysctl => points::ktrsysctl, At::Frame;
    ktrsysret / enter_sysret => points::ktrsysret, At::Frame;
    ktruserret / enter_userret => life::ktruserret, At::Frame;
    sys_ktrace / enter_ktrace => syscalls::sys_ktrace, At::Frame;
    sys_utrace / enter_utrace => syscalls::sys_utrace, At::Frame;
}

entry_code!(enter_ast => life::ast_drain, "push rbp", "mov rbp, rsp");

/// The handler for `TDA_MOD1` of ast(9).
pub(crate) const AST_HANDLER: unsafe extern "C" fn(*mut sys::thread, i32) =
    // SAFETY: the entry passes its arguments on to ast_drain(), which has this signature.
    unsafe { core::mem::transmute::<unsafe extern "C" fn(), _>(enter_ast as unsafe extern "C" fn()) };
const _: [unsafe extern "C" fn(*mut sys::thread, i32); 1] = [life::ast_drain];

/// Whether `address` is in an entry where its thread is not counted.
pub(crate) fn is_uncounted(address: usize) -> bool {
    let ast = (enter_ast as *const () as usize, At::Start);
    let mut codes = ENTRIES.iter().map(|entry| (entry.code as usize, entry.at)).chain([ast]);
    codes.any(|(code, at)| {
        let frame = if at == At::Start { FRAME_LEN } else { 0 };
        let (before, after) = (0..=frame + COUNT_IN, frame + COUNTED_OUT..=frame + RETURN);
        address.checked_sub(code).is_some_and(|offset| before.contains(&offset) || after.contains(&offset))
    })
}
