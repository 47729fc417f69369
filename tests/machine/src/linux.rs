//! The few system calls of Linux that are needed.

use core::arch::{asm, naked_asm};
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Size of a page, at the least.
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
/// An indirect branch into it must find a `bti`.
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

/// Where the code is that was mapped, and its two pages once more, where they can be written; these are not next to each
/// other.
static CODE: AtomicUsize = AtomicUsize::new(0);
static WRITABLE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Two pages for code, which can be written elsewhere only: see [`writable`].
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
    // The second page first, and something between.
    for page in [1, 0] {
        WRITABLE[page].store(map(PAGE, PROT_READ | PROT_WRITE, page * PAGE), Ordering::SeqCst);
        map(PAGE, PROT_READ, 0);
    }
    let [first, second] = WRITABLE.each_ref().map(|page| page.load(Ordering::SeqCst));
    assert_ne!(first + PAGE, second);
    code
}

/// Where a byte of that code can be written.
pub(crate) fn writable(address: usize) -> Option<usize> {
    let offset = address.checked_sub(CODE.load(Ordering::SeqCst))?;
    Some(WRITABLE.get(offset / PAGE)?.load(Ordering::SeqCst) + offset % PAGE)
}

/// Has the program's own code be one that an indirect branch may not enter anywhere; and one that can be written.
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

/// Has what was written be what is executed.
pub(crate) extern "C" fn sync(address: usize, len: usize) {
    for line in (address & !3..address + len).step_by(4) {
        // SAFETY: only caches are touched.
        unsafe {
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) line, options(nostack))
        };
    }
    // An emulator does not see what is written elsewhere: it forgets code that could be written to.
    if writable(address).is_some() {
        for protection in [PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC] {
            syscall(MPROTECT, [CODE.load(Ordering::SeqCst), 2 * PAGE, protection, 0, 0, 0]);
        }
    }
}

/// Has breakpoints be handled by `handler`.
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
