//! malloc(9), and the zone of path names. Each allocation has pages of its own, which are
//! inaccessible before and after, and are never used again.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, current, current_opt, violation};
use crate::kvar;
use crate::low::{PAGE, Region, pages, protect, retire};
use crate::machine;
use crate::sched::point;
use crate::thread::text_of;
use crate::{flaw, witness};

/// The address space for all allocations ever made.
const SPACE: usize = machine::HEAP;
/// The alignment of malloc(9).
const ALIGN: usize = 16;
/// The content of allocated memory that was not written to. No record may hold it.
pub(crate) const JUNK: [u8; 8] = [0xde, 0xc0, 0xad, 0x5e, 0xa7, 0xde, 0xc0, 0xad];
/// The byte behind an allocation, up to the end of its page.
const FENCE: u8 = 0xf5;

struct Block {
    size: usize,
    owner: String,
}

/// The use of one type of malloc(9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) count: i64,
    pub(crate) ever: i64,
    pub(crate) bytes: i64,
    pub(crate) most_bytes: i64,
}

#[derive(Default)]
struct Heap {
    blocks: BTreeMap<usize, Block>,
    types: BTreeMap<String, Use>,
}

static HEAP: HostLock<Heap> = HostLock::new(Heap { blocks: BTreeMap::new(), types: BTreeMap::new() });
static ARENA: OnceLock<Region> = OnceLock::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn arena() -> &'static Region {
    ARENA.get_or_init(|| Region::reserve(SPACE))
}

/// Describes an address of the heap for reports. Returns `None` for other addresses.
pub(crate) fn describe(address: usize) -> Option<String> {
    if !ARENA.get()?.contains(address) {
        return None;
    }
    let heap = HEAP.try_lock()?;
    let before = heap.blocks.range(..=address).next_back();
    let near = before.filter(|(start, block)| address < pages(**start + block.size) + PAGE);
    Some(match near {
        Some((start, block)) => {
            format!("{} bytes into {} bytes of {}", address - start, block.size, block.owner)
        }
        None => "memory that was freed".to_owned(),
    })
}

/// Returns the current use of all types, by name.
pub(crate) fn usage() -> BTreeMap<String, Use> {
    HEAP.lock().types.clone()
}

/// Checks that everything is freed. Called when no thread runs any more.
pub(crate) fn expect_empty() {
    for (name, used) in usage() {
        if used.count != 0 {
            violation!(Leak, "{} allocations, {} bytes, of the type {name} are left", used.count, used.bytes);
        }
    }
}

/// Allocates memory, with the content [`JUNK`] unless `zero` is set.
pub(crate) fn allocate(size: usize, owner: &str, zero: bool) -> *mut c_void {
    // The block ends its pages as closely as alignment permits, so that an access beyond it faults.
    let space = pages(size.max(1));
    let offset = NEXT.fetch_add(space + PAGE, Ordering::Relaxed);
    if offset + space + PAGE > SPACE {
        violation!(Memory, "the stand-in has no more address space");
    }
    let base = arena().base + offset;
    protect(base, space, libc::PROT_READ | libc::PROT_WRITE);
    let start = base + ((space - size) & !(ALIGN - 1));
    // SAFETY: the pages belong to this allocation.
    unsafe {
        std::ptr::write_bytes((start + size) as *mut u8, FENCE, base + space - start - size);
        if !zero {
            for at in (0..size).step_by(JUNK.len()) {
                let part = JUNK.len().min(size - at);
                std::ptr::copy_nonoverlapping(JUNK.as_ptr(), (start + at) as *mut u8, part);
            }
        }
    }
    let mut heap = HEAP.lock();
    heap.blocks.insert(start, Block { size, owner: owner.to_owned() });
    let used = heap.types.entry(owner.to_owned()).or_default();
    used.count += 1;
    used.ever += 1;
    used.bytes += size as i64;
    used.most_bytes = used.most_bytes.max(used.bytes);
    start as *mut c_void
}

/// Returns whether fence bytes lie between the end of `size` bytes and the end of their page.
pub(crate) fn has_fence(size: usize) -> bool {
    !size.is_multiple_of(ALIGN)
}

/// Frees memory that [`allocate`] returned to the same owner.
pub(crate) fn release(memory: *mut c_void, owner: &str) {
    let start = memory as usize;
    let block = {
        let mut heap = HEAP.lock();
        let block = heap.blocks.remove(&start);
        if let Some(block) = &block
            && let Some(used) = heap.types.get_mut(&block.owner)
        {
            used.count -= 1;
            used.bytes -= block.size as i64;
        }
        block
    };
    let Some(block) = block else {
        violation!(Memory, "{memory:p} is freed, which is not allocated (any more)");
    };
    if block.owner != owner {
        violation!(Memory, "memory of the type {} is freed as {owner}", block.owner);
    }
    let end = pages(start + block.size);
    // SAFETY: the pages still belong to the allocation.
    let fence =
        unsafe { std::slice::from_raw_parts((start + block.size) as *const u8, end - start - block.size) };
    if fence.iter().any(|byte| *byte != FENCE) {
        violation!(Memory, "something was written behind {} bytes of {owner}", block.size);
    }
    let base = start & !(PAGE - 1);
    retire(base, end - base);
}

unsafe fn name_of(kind: *mut sys::malloc_type) -> String {
    // SAFETY: the caller passes a valid type, which has a name.
    unsafe { text_of((*kind).ks_shortdesc) }
}

pub(crate) unsafe extern "C" fn malloc(
    size: usize,
    kind: *mut sys::malloc_type,
    flags: c_int,
) -> *mut c_void {
    let flags = flags.cast_unsigned();
    if flags & sys::M_WAITOK == 0 {
        violation!(Call, "malloc() without M_WAITOK, which could fail");
    }
    witness::may_sleep(current(), format_args!("malloc() with M_WAITOK"));
    let v = kvar::variables();
    // SAFETY: the variables live as long as the program.
    let lists = unsafe { [(&raw const (*v).proctree_lock).addr(), (&raw const (*v).allproc_lock).addr()] };
    if lists.into_iter().any(witness::holds) {
        violation!(Sleep, "malloc() under a lock of the processes, which the page daemon may need");
    }
    point();
    // SAFETY: the caller keeps the contract of this kernel function.
    let memory = allocate(size, &unsafe { name_of(kind) }, flags & sys::M_ZERO != 0);
    flaw::allocated(memory, size);
    memory
}

pub(crate) unsafe extern "C" fn free(memory: *mut c_void, kind: *mut sys::malloc_type) {
    point();
    if let Some(kt) = current_opt()
        && kt.interrupts_off.get() != 0
    {
        violation!(Sleep, "free() with interrupts off");
    }
    if !memory.is_null() {
        // SAFETY: the caller keeps the contract of this kernel function.
        release(memory, &unsafe { name_of(kind) });
    }
}

pub(crate) unsafe extern "C" fn malloc_init(kind: *mut sys::malloc_type) {
    // SAFETY: the release does not change while a module is loaded.
    if unsafe { (*kvar::variables()).osreldate } != sys::KTRACE_RS_TARGET.cast_signed() {
        violation!(Call, "malloc_init() of another release's type: the kernel panics");
    }
    // SAFETY: the caller keeps the contract of this kernel function.
    let name = unsafe { name_of(kind) };
    HEAP.lock().types.entry(name).or_default();
}

pub(crate) unsafe extern "C" fn malloc_uninit(kind: *mut sys::malloc_type) {
    // SAFETY: the caller keeps the contract of this kernel function.
    let name = unsafe { name_of(kind) };
    let used = HEAP.lock().types.remove(&name);
    if let Some(used) = used
        && used.count != 0
    {
        violation!(
            Leak,
            "{} allocations, {} bytes, of the type {name} are not freed",
            used.count,
            used.bytes
        );
    }
}

/// The owner name of the zone of path names.
pub(crate) const NAMEI: &str = "NAMEI";

pub(crate) unsafe extern "C" fn uma_zfree_arg(_: *mut c_void, item: *mut c_void, _: *mut c_void) {
    point();
    release(item, NAMEI);
}
