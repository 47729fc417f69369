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
use crate::machine::{self, SIZE};
use crate::sched::point;
use crate::thread::text_of;
use crate::{flaw, heap, witness};

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

/// All of them, and their names.
static FUNCTIONS: [(Stock, &CStr); 24] = [
    (Stock::ktr_get_tracevp, c"ktr_get_tracevp"),
    (Stock::ktr_io_params_free, c"ktr_io_params_free"),
    (Stock::ktrcapfail, c"ktrcapfail"),
    (Stock::ktrcsw, c"ktrcsw"),
    (Stock::ktrfault, c"ktrfault"),
    (Stock::ktrfaultend, c"ktrfaultend"),
    (Stock::ktrgenio, c"ktrgenio"),
    (Stock::ktrnamei, c"ktrnamei"),
    (Stock::ktrprocctor, c"ktrprocctor"),
    (Stock::ktrprocexec, c"ktrprocexec"),
    (Stock::ktrprocexit, c"ktrprocexit"),
    (Stock::ktrprocfork, c"ktrprocfork"),
    (Stock::ktrpsig, c"ktrpsig"),
    (Stock::ktrstruct, c"ktrstruct"),
    (Stock::ktrstruct_error, c"ktrstruct_error"),
    (Stock::ktrstructarray, c"ktrstructarray"),
    (Stock::ktrsyscall, c"ktrsyscall"),
    (Stock::ktrsysctl, c"ktrsysctl"),
    (Stock::ktrsysret, c"ktrsysret"),
    (Stock::ktruserret, c"ktruserret"),
    (Stock::sys_ktrace, c"sys_ktrace"),
    (Stock::sys_utrace, c"sys_utrace"),
    (Stock::ktrdata, c"ktrdata"),
    (Stock::ktrexterr, c"ktrexterr"),
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
        let region = machine::text_memory(COUNT * SIZE);
        let mut stock = vec![machine::FILL; region.len];
        for (index, (stock_function, _)) in FUNCTIONS.iter().take(COUNT).enumerate() {
            let code = function(*stock_function);
            stock[index * SIZE..index * SIZE + code.len()].copy_from_slice(&code);
            ENTRIES[index].store(region.base + index * SIZE, Ordering::Release);
        }
        // SAFETY: the region is writable, and as long.
        unsafe { std::ptr::copy_nonoverlapping(stock.as_ptr(), region.base as *mut u8, stock.len()) };
        region.protect(0, region.len, libc::PROT_READ | libc::PROT_EXEC);
        Text { region, stock }
    })
}

/// A function of the stock backend.
fn function(stock: Stock) -> Vec<u8> {
    let third = (stock == Stock::ktrgenio).then_some(free_uio as *const () as usize);
    let code = machine::function(stock, &raw const CALLS[stock as usize] as u64, third);
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

/// How many a module redirects.
pub(crate) fn redirected() -> usize {
    COUNT - machine::LEFT
}

/// Writes a breakpoint into a function, as another tool would, or what was there.
pub(crate) fn patch(stock: Stock, patched: bool) {
    let text = text();
    let (offset, breakpoint) = machine::BREAKPOINT;
    let offset = stock as usize * SIZE + offset;
    let bytes = if patched { breakpoint } else { &text.stock[offset..offset + breakpoint.len()] };
    set_writable(true);
    // SAFETY: inside the region, which is writable now; nobody calls the function.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), (text.region.base + offset) as *mut u8, bytes.len());
    }
    set_writable(false);
}

/// Has the text be one that can be written, or not.
pub(crate) fn set_writable(writable: bool) {
    let write = if writable { libc::PROT_WRITE } else { 0 };
    let region = text().region;
    region.protect(0, region.len.next_multiple_of(PAGE), libc::PROT_READ | libc::PROT_EXEC | write);
}

/// The text was written to, and can be: once a byte of it is not what it should be, if that is asked for.
pub(crate) fn spoil() {
    if crate::link::is_unloading() && flaw::shows(flaw::Other::ByteLeft, 5) {
        // SAFETY: inside the region, which is writable.
        unsafe { ((text().region.base + SIZE * 3 + 5) as *mut u8).write_volatile(0xe9) };
    }
}

/// Looks a symbol of the kernel's own file up by name.
pub(crate) fn lookup(name: &str) -> Option<usize> {
    if let Some(index) =
        FUNCTIONS.iter().take(COUNT).position(|(_, known)| known.to_bytes() == name.as_bytes())
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
    let index = (symbol as usize - first) / size_of::<(Stock, &CStr)>();
    let (stock, name) = FUNCTIONS[index];
    // SAFETY: the caller's.
    unsafe {
        (*values).name = name.as_ptr();
        (*values).value = (text().region.base + index * SIZE) as *mut c_char;
        (*values).size = function(stock).len();
    }
    0
}

/// Makes the text, before anybody calls it.
pub(crate) fn init() {
    text();
}
