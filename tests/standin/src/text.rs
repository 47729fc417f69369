//! The kernel's text: the functions of `sys/ktrace.h` that the module redirects, compiled from
//! `stock/kern_ktrace.c`. Each counts its calls, and returns zero.
//!
//! Callers of the backend call these functions. Only the module's jump leads into the module.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use kernel_sys as sys;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, elf};

use crate::host::{HostLock, violation};
use crate::kvar;
use crate::low::{PAGE, Region};
use crate::machine;
use crate::sched::point;
use crate::thread::text_of;
use crate::{event, flaw, heap, witness};

/// A function of the stock backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(non_camel_case_types, reason = "the names of sys/ktrace.h")]
pub(crate) enum Stock {
    ktr_get_tracevp,
    ktr_io_params_free,
    ktrcapfail,
    ktrcsw,
    ktrcsw_out,
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

/// All functions. Some releases lack some of the last.
static ALL: [(Stock, &str); 25] = [
    (Stock::ktr_get_tracevp, "ktr_get_tracevp"),
    (Stock::ktr_io_params_free, "ktr_io_params_free"),
    (Stock::ktrcapfail, "ktrcapfail"),
    (Stock::ktrcsw, "ktrcsw"),
    (Stock::ktrcsw_out, "ktrcsw_out"),
    (Stock::ktrfault, "ktrfault"),
    (Stock::ktrfaultend, "ktrfaultend"),
    (Stock::ktrgenio, "ktrgenio"),
    (Stock::ktrnamei, "ktrnamei"),
    (Stock::ktrprocctor, "ktrprocctor"),
    (Stock::ktrprocexec, "ktrprocexec"),
    (Stock::ktrprocexit, "ktrprocexit"),
    (Stock::ktrprocfork, "ktrprocfork"),
    (Stock::ktrpsig, "ktrpsig"),
    (Stock::ktrstruct, "ktrstruct"),
    (Stock::ktrstruct_error, "ktrstruct_error"),
    (Stock::ktrstructarray, "ktrstructarray"),
    (Stock::ktrsyscall, "ktrsyscall"),
    (Stock::ktrsysctl, "ktrsysctl"),
    (Stock::ktrsysret, "ktrsysret"),
    (Stock::ktruserret, "ktruserret"),
    (Stock::sys_ktrace, "sys_ktrace"),
    (Stock::sys_utrace, "sys_utrace"),
    (Stock::ktrdata, "ktrdata"),
    (Stock::ktrexterr, "ktrexterr"),
];

/// The addresses that callers use. Zero for a function that the release lacks.
static ENTRIES: [AtomicUsize; ALL.len()] = [const { AtomicUsize::new(0) }; ALL.len()];

/// The compiled file. Used unless another file is named.
static COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kern_ktrace.so"));

/// The function of a later kernel release. This kernel has it only on request.
const LATER: &str = "ktrnew";
static HAS_LATER: AtomicBool = AtomicBool::new(false);

/// A symbol that the linker does not find, as in a kernel without it.
static HIDDEN: HostLock<Option<&str>> = HostLock::new(None);

/// Whether the linker reports only two bytes for a function.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// An `Elf64_Sym`.
#[derive(Debug)]
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}

/// A symbol of the kernel's text.
#[derive(Debug)]
#[repr(C)]
struct Function {
    /// The ELF symbol. First, so that both have the same address.
    symbol: Symbol,
    name: CString,
    address: usize,
    size: usize,
}

struct Text {
    /// The code, and the variables behind it.
    region: Region,
    /// The offset and the length of the code.
    code: (usize, usize),
    /// The functions, sorted by address.
    functions: Vec<Function>,
    calls: usize,
}

impl Text {
    /// Returns the backend's handler for ast(9).
    fn handler(&self) -> Result<usize> {
        let handler = self.functions.iter().find(|function| function.name.as_c_str() == c"ast_ktrace");
        Ok(handler.context("it has no ast_ktrace()")?.address)
    }
}

static TEXT: OnceLock<Text> = OnceLock::new();

fn text() -> &'static Text {
    TEXT.get().expect("the text is made first")
}

/// Creates the text from `file`, or from the file compiled with the stand-in. Must run before the
/// first call of a function of the text.
///
/// # Errors
///
/// Fails if the file is no shared object without relocations, or lacks a function.
pub(crate) fn init(file: Option<&[u8]>) -> Result<()> {
    let text = link(file.unwrap_or(COMPILED)).context("the stock backend")?;
    for (stock, name) in ALL {
        let function = text.functions.iter().find(|function| function.name.to_bytes() == name.as_bytes());
        ENTRIES[stock as usize].store(function.map_or(0, |function| function.address), Ordering::Release);
    }
    kvar::set_system_calls(entry(Stock::sys_ktrace), entry(Stock::sys_utrace));
    event::set_stock(text.handler()?);
    if TEXT.set(text).is_err() {
        bail!("the text is made once");
    }
    set_writable(false);
    Ok(())
}

/// Loads a shared object into memory.
fn link(bytes: &[u8]) -> Result<Text> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let loaded = || segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    let end = loaded().map(|segment| segment.p_vaddr(endian) + segment.p_memsz(endian)).max();
    let region = machine::text_memory(usize::try_from(end.unwrap_or(0))?.next_multiple_of(PAGE));
    for segment in loaded() {
        let data = segment.data(endian, bytes).ok().context("a segment that is cut off")?;
        let place = region.base + usize::try_from(segment.p_vaddr(endian))?;
        // SAFETY: the region is writable, and has room for all segments.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), place as *mut u8, data.len()) };
    }
    let sections = header.sections(endian, bytes)?;
    if sections.iter().any(|section| matches!(section.sh_type(endian), elf::SHT_RELA | elf::SHT_REL)) {
        bail!("it has relocations");
    }
    let (_, code) = sections.section_by_name(endian, b".text").context("it has no text")?;
    let code = (usize::try_from(code.sh_addr(endian))?, usize::try_from(code.sh_size(endian))?);
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB)?;
    let (mut functions, mut calls, mut hook) = (Vec::new(), None, None);
    for symbol in symbols.iter() {
        let name = symbol.name(endian, symbols.strings())?;
        let address = region.base + usize::try_from(symbol.st_value(endian))?;
        match (symbol.st_type(), name) {
            (elf::STT_FUNC, _) => functions.push(Function::new(
                CString::new(name)?,
                address,
                usize::try_from(symbol.st_size(endian))?,
                symbol.st_bind() == elf::STB_GLOBAL,
            )),
            (elf::STT_OBJECT, b"ktr_calls") => calls = Some(address),
            (elf::STT_OBJECT, b"ktr_free_uio") => hook = Some(address),
            _ => {}
        }
    }
    functions.sort_by_key(|function| function.address);
    let hook = hook.context("it has no ktr_free_uio")? as *mut usize;
    // SAFETY: the variable belongs to the file, and is writable.
    unsafe { hook.write(free_uio as *const () as usize) };
    Ok(Text { region, code, functions, calls: calls.context("it has no ktr_calls")? })
}

/// Frees the copy that the stock ktrgenio() is given.
unsafe extern "C" fn free_uio(uio: *mut c_void) {
    // SAFETY: the caller passes a block of type M_IOV that it owns.
    unsafe { heap::free(uio, kvar::m_iov()) };
}

/// Returns the address at which callers call a function. Read anew on each call.
pub(crate) fn entry(stock: Stock) -> usize {
    ENTRIES[stock as usize].load(Ordering::Acquire)
}

/// Returns whether an address is in the code.
pub(crate) fn contains(address: usize) -> bool {
    TEXT.get().is_some_and(|text| {
        let start = text.region.base + text.code.0;
        (start..start + text.code.1).contains(&address)
    })
}

/// Sets another handler for ast(9), or with `None` the backend's own.
pub(crate) fn set_handler(other: Option<usize>) -> Result<()> {
    event::set_stock(other.map_or_else(|| text().handler(), Ok)?);
    Ok(())
}

/// Returns the number of calls of the stock backend so far.
pub(crate) fn stock_calls() -> u64 {
    // SAFETY: the counter is a variable of the text, never unmapped, and is accessed whole.
    unsafe { AtomicU64::from_ptr(text().calls as *mut u64) }.load(Ordering::Relaxed)
}

/// Returns the current code.
pub(crate) fn bytes() -> Vec<u8> {
    let text = text();
    let (start, len) = text.code;
    // SAFETY: the code is readable.
    unsafe { std::slice::from_raw_parts((text.region.base + start) as *const u8, len) }.to_vec()
}

/// Returns the number of functions that differ from `before`.
pub(crate) fn changed(before: &[u8]) -> usize {
    let (now, text) = (bytes(), text());
    let start = text.region.base + text.code.0;
    let differs = |function: &&Function| {
        let range = function.address - start..function.address - start + function.size;
        now[range.clone()] != before[range]
    };
    text.functions.iter().filter(differs).count()
}

/// Returns whether this release has a function.
pub(crate) fn has(stock: Stock) -> bool {
    entry(stock) != 0
}

/// Returns the number of functions that a module redirects.
pub(crate) fn redirected() -> usize {
    ALL.iter().filter(|(stock, _)| has(*stock)).count()
}

/// Writes a breakpoint into a function, as another tool would, or restores the original bytes.
pub(crate) fn patch(stock: Stock, patched: bool) {
    static STOCK: OnceLock<Vec<u8>> = OnceLock::new();
    let (offset, breakpoint) = machine::BREAKPOINT;
    let place = entry(stock) + offset;
    // SAFETY: the code is readable.
    let before = unsafe { std::slice::from_raw_parts(place as *const u8, breakpoint.len()) };
    let before = STOCK.get_or_init(|| before.to_vec());
    let bytes = if patched { breakpoint } else { before };
    set_writable(true);
    // SAFETY: the place is inside the function, which is writable now, and no thread calls it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place as *mut u8, bytes.len()) };
    set_writable(false);
}

/// Adds the backend function of a later release to the kernel, or removes it.
pub(crate) fn add_later(there: bool) {
    HAS_LATER.store(there, Ordering::Release);
}

/// Takes a symbol out of the kernel's symbol table, or puts the one that was taken out back.
pub(crate) fn hide(name: Option<&'static str>) {
    *HIDDEN.lock() = name;
}

/// Makes ktrsysctl() too short for a jump, or long enough again.
pub(crate) fn shorten(short: bool) {
    IS_SHORT.store(short, Ordering::Release);
}

/// Makes the text writable, or write-protects it.
pub(crate) fn set_writable(writable: bool) {
    let write = if writable { libc::PROT_WRITE } else { 0 };
    let text = text();
    let (start, len) = text.code;
    let first = start & !(PAGE - 1);
    text.region.protect(first, start + len - first, libc::PROT_READ | libc::PROT_EXEC | write);
}

/// Shows the flaw [`flaw::Other::ByteLeft`]: changes one byte of the text. Called when the text has
/// been written to, and is still writable.
pub(crate) fn spoil() {
    if crate::link::is_unloading() && flaw::shows(flaw::Other::ByteLeft, 5) {
        // Behind the bytes that a jump takes.
        // SAFETY: the byte is inside a function, which is writable.
        unsafe { ((entry(Stock::ktrcapfail) + 26) as *mut u8).write_volatile(0xe9) };
    }
}

/// Returns the functions that the linker knows.
fn functions() -> impl Iterator<Item = &'static Function> {
    let later = HAS_LATER.load(Ordering::Acquire);
    text().functions.iter().filter(move |function| later || function.name.to_bytes() != LATER.as_bytes())
}

/// Returns the address of a symbol of the kernel's own file. As in the linker, static symbols are
/// found, too.
pub(crate) fn lookup(name: &str) -> Option<usize> {
    if *HIDDEN.lock() == Some(name) {
        return None;
    }
    if name == "ast_entries" {
        return Some(handlers().address);
    }
    let function = functions().find(|function| function.name.to_bytes() == name.as_bytes());
    let variable =
        || kvar::symbols().into_iter().find(|(known, _)| *known == name).map(|(_, address)| address);
    function.map(|function| function.address).or_else(variable)
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
    // SAFETY: the caller keeps the contract of this kernel function.
    let name = unsafe { text_of(name) };
    lookup(&name).unwrap_or(0) as *mut c_char
}

pub(crate) unsafe extern "C" fn module_lookupbyname(name: *const c_char) -> *mut c_void {
    if !witness::holds(kvar::modules_sx()) {
        violation!(LockUse, "module_lookupbyname() without the lock of the modules");
    }
    // SAFETY: the caller keeps the contract of this kernel function.
    let name = unsafe { text_of(name) };
    if name == "kinst" && kvar::kinst_is_loaded() { kvar::kernel_file() } else { std::ptr::null_mut() }
}

pub(crate) unsafe extern "C" fn linker_file_function_listall(
    file: *mut c_void,
    callback: unsafe extern "C" fn(*mut c_void, c_int, *mut sys::linker_symval_t, *mut c_void) -> c_int,
    arg: *mut c_void,
) -> c_int {
    point();
    if file != kvar::kernel_file() {
        violation!(Call, "linker_file_function_listall() of what is not the kernel's file");
    }
    for (number, function) in functions().enumerate() {
        let mut values = function.values();
        // SAFETY: the caller keeps the contract of this kernel function.
        let error = unsafe { callback(file, number as c_int, &raw mut values, arg) };
        if error != 0 {
            return error;
        }
    }
    0
}

pub(crate) unsafe extern "C" fn linker_ddb_search_symbol(
    address: *mut c_char,
    symbol: *mut *const c_void,
    offset: *mut c_long,
) -> c_int {
    let address = address as usize;
    let handlers = [handlers()].into_iter();
    let Some(found) = handlers
        .chain(functions())
        .filter(|symbol| symbol.address <= address)
        .max_by_key(|symbol| symbol.address)
    else {
        return sys::ENOENT.cast_signed();
    };
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        *symbol = std::ptr::from_ref(found).cast();
        *offset = (address - found.address) as c_long;
    }
    0
}

/// Returns the table of handlers for ast(9), as a symbol.
fn handlers() -> &'static Function {
    static HANDLERS: OnceLock<Function> = OnceLock::new();
    HANDLERS.get_or_init(|| {
        let (address, size) = event::table();
        Function::new(c"ast_entries".into(), address, size, false)
    })
}

pub(crate) unsafe extern "C" fn linker_ddb_symbol_values(
    symbol: *const c_void,
    values: *mut sys::linker_symval_t,
) -> c_int {
    // SAFETY: the caller passes a symbol from linker_ddb_search_symbol(), which is a Function.
    unsafe { values.write((*symbol.cast::<Function>()).values()) };
    0
}

impl Function {
    fn new(name: CString, address: usize, size: usize, is_global: bool) -> Self {
        let bind = if is_global { elf::STB_GLOBAL } else { elf::STB_LOCAL };
        let symbol = Symbol { name: 0, info: bind << 4, other: 0, section: 0, value: address, size };
        Function { symbol, name, address, size }
    }

    fn values(&self) -> sys::linker_symval_t {
        let short = IS_SHORT.load(Ordering::Acquire) && self.address == entry(Stock::ktrsysctl);
        let size = if short { 2 } else { self.size };
        sys::linker_symval_t { name: self.name.as_ptr(), value: self.address as *mut c_char, size }
    }
}
