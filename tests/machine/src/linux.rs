//! The Linux system calls that the test needs.

use core::arch::{asm, naked_asm};
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Minimum size of a page.
pub(crate) const PAGE: usize = 4096;

const FTRUNCATE: usize = 46;
const WRITE: usize = 64;
const EXIT: usize = 93;
const RT_SIGACTION: usize = 134;
const RT_SIGRETURN: usize = 139;
const MMAP: usize = 222;
const MPROTECT: usize = 226;
const MEMFD_CREATE: usize = 279;

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
/// Requires a `bti` at the target of an indirect branch into the mapping.
const PROT_BTI: usize = 0x10;
const MAP_SHARED: usize = 1;
const SIGTRAP: usize = 5;
const SA_RESTORER: usize = 0x0400_0000;

fn syscall(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the calls made here touch only memory that the arguments are about.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    result
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "b start")
}

pub(crate) fn exit(status: usize) -> ! {
    loop {
        syscall(EXIT, [status, 0, 0, 0, 0, 0]);
    }
}

/// Standard output.
pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        syscall(WRITE, [1, text.as_ptr() as usize, text.len(), 0, 0, 0]);
        Ok(())
    }
}

/// Address of the mapped code, and of the writable mapping of each of its two pages.
///
/// The writable mappings are not adjacent.
static CODE: AtomicUsize = AtomicUsize::new(0);
static WRITABLE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Maps two pages for code, which are writable only at other addresses: see [`writable`].
pub(crate) fn map_code() -> usize {
    let file = syscall(MEMFD_CREATE, [c"code".as_ptr() as usize, 0, 0, 0, 0, 0]).cast_unsigned();
    assert_eq!(syscall(FTRUNCATE, [file, 2 * PAGE, 0, 0, 0, 0]), 0, "ftruncate");
    let map = |len, protection, offset| {
        let address = syscall(MMAP, [0, len, protection, MAP_SHARED, file, offset]);
        assert!(address > 0, "mmap: {address}");
        address.cast_unsigned()
    };
    let code = map(2 * PAGE, PROT_READ | PROT_EXEC, 0);
    CODE.store(code, Ordering::SeqCst);
    // Map the second page first, and another page in between.
    for page in [1, 0] {
        WRITABLE[page].store(map(PAGE, PROT_READ | PROT_WRITE, page * PAGE), Ordering::SeqCst);
        map(PAGE, PROT_READ, 0);
    }
    let [first, second] = WRITABLE.each_ref().map(|page| page.load(Ordering::SeqCst));
    assert_ne!(first + PAGE, second);
    code
}

/// Returns the address at which a byte of that code can be written.
pub(crate) fn writable(address: usize) -> Option<usize> {
    let offset = address.checked_sub(CODE.load(Ordering::SeqCst))?;
    Some(WRITABLE.get(offset / PAGE)?.load(Ordering::SeqCst) + offset % PAGE)
}

/// Makes the program's own code writable, with indirect branches allowed only to a `bti`.
pub(crate) fn guard_text() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let (start, end) = (&raw const __executable_start as usize, &raw const etext as usize);
    let (start, end) = (start & !(PAGE - 1), end.next_multiple_of(PAGE));
    let protection = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_BTI;
    let result = syscall(MPROTECT, [start, end - start, protection, 0, 0, 0]);
    assert_eq!(result, 0, "mprotect");
}

/// Writes instructions.
pub(crate) fn store(address: usize, code: &[u32]) {
    for (place, word) in (address..).step_by(4).zip(code) {
        // SAFETY: memory of this process that is mapped for that.
        unsafe { (writable(place).unwrap_or(place) as *mut u32).write_volatile(*word) };
    }
    sync(address, 4 * code.len());
}

/// Synchronises the instruction cache with written code.
pub(crate) extern "C" fn sync(address: usize, len: usize) {
    for line in (address & !3..address + len).step_by(4) {
        // SAFETY: only caches are touched.
        unsafe {
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) line, options(nostack))
        };
    }
    // An emulator does not notice writes through another mapping. It drops its translation of code
    // that was writable for a moment.
    if writable(address).is_some() {
        for protection in [PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC] {
            syscall(MPROTECT, [CODE.load(Ordering::SeqCst), 2 * PAGE, protection, 0, 0, 0]);
        }
    }
}

/// Installs `handler` for breakpoints.
pub(crate) fn on_trap(handler: extern "C" fn(i32, *const u8, *mut u8)) {
    #[unsafe(naked)]
    unsafe extern "C" fn restore() {
        naked_asm!("hint #34", "mov x8, {number}", "svc #0", number = const RT_SIGRETURN)
    }
    let restore = restore as *const () as usize;
    let action: [usize; 4] = [handler as *const () as usize, SA_RESTORER, restore, 0];
    let result = syscall(RT_SIGACTION, [SIGTRAP, action.as_ptr() as usize, 0, 8, 0, 0]);
    assert_eq!(result, 0, "sigaction");
}
