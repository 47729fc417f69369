//! The kernel's text: for each function of `sys/ktrace.h` that the module redirects, one that begins as compilers have
//! it begin. It counts its calls, and returns zero.
//!
//! What calls the backend calls these; so it is the module's jump that leads into the module.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::violation;
use crate::kvar;
use crate::low::{PAGE, Region};
use crate::sched::point;
use crate::thread::text_of;
use crate::{flaw, heap, witness};

/// `push %rbp; mov %rsp,%rbp`.
const FRAME: &[u8] = &[0x55, 0x48, 0x89, 0xe5];
/// Bytes of a function.
const SIZE: usize = 64;

/// A function of the stock backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(non_camel_case_types, reason = "the names of sys/ktrace.h")]
pub(crate) enum Stock {
    ktr_get_tracevp,
    ktr_io_params_free,
    ktrcapfail,
    ktrcsw,
    ktrfault,
    ktrfaultend,
    ktrgenio,
    ktrnamei,
    ktrprocctor,
    ktrprocexec,
    ktrprocexit,
    ktrprocfork,
    ktrpsig,
    ktrstruct,
    ktrstruct_error,
    ktrstructarray,
    ktrsyscall,
    ktrsysctl,
    ktrsysret,
    ktruserret,
    sys_ktrace,
    sys_utrace,
    ktrdata,
    ktrexterr,
}

/// Their names, and what some of them have before their frame: a look at the first argument.
static FUNCTIONS: [(&CStr, &[u8]); 24] = [
    // mov disp32(%rdi),%rax
    (c"ktr_get_tracevp", &[0x48, 0x8b, 0x87, 0x48, 0x03, 0x00, 0x00]),
    // test %rdi,%rdi; je .+2
    (c"ktr_io_params_free", &[0x48, 0x85, 0xff, 0x74, 0x00]),
    (c"ktrcapfail", &[]),
    (c"ktrcsw", &[]),
    (c"ktrfault", &[]),
    (c"ktrfaultend", &[]),
    (c"ktrgenio", &[]),
    (c"ktrnamei", &[]),
    (c"ktrprocctor", &[]),
    // mov disp32(%rdi),%rax
    (c"ktrprocexec", &[0x48, 0x8b, 0x87, 0x48, 0x03, 0x00, 0x00]),
    (c"ktrprocexit", &[]),
    // testl $imm32,disp32(%rdi)
    (c"ktrprocfork", &[0xf7, 0x87, 0x40, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40]),
    (c"ktrpsig", &[]),
    (c"ktrstruct", &[]),
    (c"ktrstruct_error", &[]),
    (c"ktrstructarray", &[]),
    (c"ktrsyscall", &[]),
    (c"ktrsysctl", &[]),
    (c"ktrsysret", &[]),
    (c"ktruserret", &[]),
    (c"sys_ktrace", &[]),
    (c"sys_utrace", &[]),
    (c"ktrdata", &[]),
    (c"ktrexterr", &[]),
];

/// How many of them this release has.
const COUNT: usize = if sys::KTRACE_RS_TARGET >= 1_500_000 { 24 } else { 22 };

static CALLS: [AtomicU64; 24] = [const { AtomicU64::new(0) }; 24];
/// Where they are, for who calls.
static ENTRIES: [AtomicUsize; 24] = [const { AtomicUsize::new(0) }; 24];

struct Text {
    region: Region,
    stock: Vec<u8>,
}

static TEXT: OnceLock<Text> = OnceLock::new();

fn text() -> &'static Text {
    TEXT.get_or_init(|| {
        let region = Region::low(COUNT * SIZE);
        let mut stock = vec![0xcc; region.len];
        for (index, (_, early)) in FUNCTIONS.iter().take(COUNT).enumerate() {
            let code = function(index, early, &raw const CALLS[index] as u64);
            stock[index * SIZE..index * SIZE + code.len()].copy_from_slice(&code);
            ENTRIES[index].store(region.base + index * SIZE, Ordering::Release);
        }
        // SAFETY: the region is writable, and as long.
        unsafe { std::ptr::copy_nonoverlapping(stock.as_ptr(), region.base as *mut u8, stock.len()) };
        region.protect(0, region.len, libc::PROT_READ | libc::PROT_EXEC);
        Text { region, stock }
    })
}

/// A function that counts its calls at an address.
fn function(index: usize, early: &[u8], count: u64) -> Vec<u8> {
    let mut code = early.to_vec();
    code.extend_from_slice(FRAME);
    // movabs $count,%r11
    code.extend_from_slice(&[0x49, 0xbb]);
    code.extend_from_slice(&count.to_le_bytes());
    // lock incq (%r11)
    code.extend_from_slice(&[0xf0, 0x49, 0xff, 0x03]);
    if index == Stock::ktrgenio as usize {
        // mov %rdx,%rdi; movabs $free_uio,%rax; call *%rax
        code.extend_from_slice(&[0x48, 0x89, 0xd7, 0x48, 0xb8]);
        code.extend_from_slice(&(free_uio as *const () as usize).to_le_bytes());
        code.extend_from_slice(&[0xff, 0xd0]);
    }
    // xor %eax,%eax; pop %rbp; ret
    code.extend_from_slice(&[0x31, 0xc0, 0x5d, 0xc3]);
    assert!(code.len() <= SIZE, "a function fits");
    code
}

/// The stock ktrgenio() is given a copy to free.
unsafe extern "C" fn free_uio(uio: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { heap::free(uio, kvar::m_iov()) };
}

/// Where a function is, as who calls it has it: read anew each time.
pub(crate) fn entry(stock: Stock) -> usize {
    ENTRIES[stock as usize].load(Ordering::Acquire)
}

/// Whether an address is in it.
pub(crate) fn contains(address: usize) -> bool {
    TEXT.get().is_some_and(|text| text.region.contains(address))
}

/// Calls of the stock backend so far.
pub(crate) fn stock_calls() -> u64 {
    CALLS.iter().map(|calls| calls.load(Ordering::Relaxed)).sum()
}

/// The text as it is now.
pub(crate) fn bytes() -> Vec<u8> {
    let region = text().region;
    // SAFETY: the region can be read.
    unsafe { std::slice::from_raw_parts(region.base as *const u8, region.len) }.to_vec()
}

/// How many functions are not what they were.
pub(crate) fn changed(before: &[u8]) -> usize {
    bytes().chunks(SIZE).zip(before.chunks(SIZE)).filter(|(now, before)| now != before).count()
}

/// Whether this release has a function.
pub(crate) fn has(stock: Stock) -> bool {
    (stock as usize) < COUNT
}

/// How many there are.
pub(crate) fn count() -> usize {
    COUNT
}

/// Writes a breakpoint behind the frame of a function, as another tool would, or what was there.
pub(crate) fn patch(stock: Stock, patched: bool) {
    let text = text();
    let offset = stock as usize * SIZE + FRAME.len();
    set_writable(true);
    // SAFETY: inside the region, which is writable now.
    unsafe {
        ((text.region.base + offset) as *mut u8).write_volatile(if patched {
            0xcc
        } else {
            text.stock[offset]
        });
    }
    set_writable(false);
}

fn set_writable(writable: bool) {
    let write = if writable { libc::PROT_WRITE } else { 0 };
    let region = text().region;
    region.protect(0, region.len.next_multiple_of(PAGE), libc::PROT_READ | libc::PROT_EXEC | write);
}

pub(crate) unsafe extern "C" fn disable_wp() -> bool {
    set_writable(true);
    true
}

pub(crate) unsafe extern "C" fn restore_wp(_: bool) {
    if crate::link::is_unloading() && flaw::shows(flaw::Other::ByteLeft, 5) {
        // SAFETY: inside the region, which is writable.
        unsafe { ((text().region.base + SIZE * 3 + 5) as *mut u8).write_volatile(0xe9) };
    }
    set_writable(false);
}

/// Looks a symbol of the kernel's own file up by name.
pub(crate) fn lookup(name: &str) -> Option<usize> {
    if let Some(index) =
        FUNCTIONS.iter().take(COUNT).position(|(known, _)| known.to_bytes() == name.as_bytes())
    {
        return Some(text().region.base + index * SIZE);
    }
    kvar::symbols().into_iter().find(|(known, _)| *known == name).map(|(_, address)| address)
}

pub(crate) unsafe extern "C" fn linker_file_lookup_symbol(
    file: *mut c_void,
    name: *const c_char,
    _: c_int,
) -> *mut c_char {
    witness::may_sleep(crate::host::current(), format_args!("linker_file_lookup_symbol()"));
    point();
    if file != kvar::kernel_file() {
        violation!(Call, "linker_file_lookup_symbol() of what is not the kernel's file");
    }
    // SAFETY: the caller's.
    let name = unsafe { text_of(name) };
    lookup(&name).unwrap_or(0) as *mut c_char
}

pub(crate) unsafe extern "C" fn linker_ddb_search_symbol(
    address: *mut c_char,
    symbol: *mut *const c_void,
    offset: *mut c_long,
) -> c_int {
    let region = text().region;
    if !region.contains(address as usize) {
        return sys::ENOENT.cast_signed();
    }
    let index = (address as usize - region.base) / SIZE;
    // SAFETY: the caller's.
    unsafe {
        *symbol = (&raw const FUNCTIONS[index.min(COUNT - 1)]).cast();
        *offset = (address as usize - region.base - index * SIZE) as c_long;
    }
    0
}

pub(crate) unsafe extern "C" fn linker_ddb_symbol_values(
    symbol: *const c_void,
    values: *mut sys::linker_symval_t,
) -> c_int {
    let first = (&raw const FUNCTIONS).cast::<u8>() as usize;
    let index = (symbol as usize - first) / size_of::<(&CStr, &[u8])>();
    let size = function(index, FUNCTIONS[index].1, 0).len();
    // SAFETY: the caller's.
    unsafe {
        (*values).name = FUNCTIONS[index].0.as_ptr();
        (*values).value = (text().region.base + index * SIZE) as *mut c_char;
        (*values).size = size;
    }
    0
}

/// Makes the text, before anybody calls it.
pub(crate) fn init() {
    text();
}
