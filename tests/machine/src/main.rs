//! Test of `kmod/src/machine/arm64.rs` by itself, in a Linux process for arm64.
//!
//! Functions with the prologues of compilers are redirected to an entry, called, and restored. The
//! test stops at each instruction of the entry, and checks whether the thread is counted there.
//!
//! It has no standard library, because `x18` is the module's here. It prints `ok` and exits with 0,
//! or prints the fault and exits with 1.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kernel_sys as sys;

mod linux;

mod entry {
    //! The counter that the entries use.
    use core::sync::atomic::AtomicPtr;

    pub(crate) static INSIDE: AtomicPtr<u64> = AtomicPtr::new(core::ptr::null_mut());
}

#[expect(dead_code, reason = "what only the stop of all threads uses")]
#[path = "../../../kmod/src/machine/mod.rs"]
mod machine;

use machine::{Code, Detour, Site, UNCOUNTED, Unfit};

/// Offset of a counter's parts from its address, as in `pc_zpcpu_offset`.
const PART: usize = 64;
/// Return value of the body.
const RESULT: u64 = 0x1122_3344_5566_7788;
/// Filler after the first instructions of a function, which must not be executed.
const UDF: u32 = 0;
/// Length of a function in instructions.
const LEN: usize = 10;

static COUNTER: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of threads that the counter has inside.
fn inside() -> u64 {
    COUNTER[PART / 8].load(Ordering::SeqCst)
}

/// Replaces the functions, and checks that the thread is counted and the arguments are unchanged.
extern "C" fn body(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64) -> u64 {
    CALLS.fetch_add(1, Ordering::SeqCst);
    assert_eq!([a, b, c, d, e, f, g, h], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(inside(), 1);
    RESULT
}

machine::entry_code!(enter => body);

/// Calls `function` with 1 to 8, and returns its result.
///
/// Returns 0 if it has changed a callee-saved register or the stack pointer.
#[unsafe(naked)]
unsafe extern "C" fn call(function: usize) -> u64 {
    core::arch::naked_asm!(
        "hint #34",
        "stp x29, x30, [sp, #-96]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x29, #29",
        "mov x19, sp",
        "mov x20, x18",
        "mov x21, #21",
        "mov x22, #22",
        "mov x9, x0",
        "mov x0, #1",
        "mov x1, #2",
        "mov x2, #3",
        "mov x3, #4",
        "mov x4, #5",
        "mov x5, #6",
        "mov x6, #7",
        "mov x7, #8",
        "blr x9",
        "mov x10, sp",
        "cmp x10, x19",
        "ccmp x18, x20, #0, eq",
        "ccmp x21, #21, #0, eq",
        "ccmp x22, #22, #0, eq",
        "ccmp x29, #29, #0, eq",
        "csel x0, x0, xzr, eq",
        "mov sp, x19",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #96",
        "ret",
    )
}

/// A function in assembler: its first instructions, how many of them stay, and how many it has in
/// all.
type Case = (&'static str, [u32; 2], usize, usize);

/// Functions of compilers, and whether each needs an island for its jump.
const COMPILED: [(Case, bool); 18] = [
    (("stp x29, x30, [sp, #-64]!", [0xa9bc_7bfd, UDF], 1, LEN), false),
    (("stp x29, x30, [sp, #-16]!", [0xa9bf_7bfd, UDF], 1, LEN), false),
    (("stp x29, x30, [sp, #-504]!", [0xa9a0_fbfd, UDF], 1, LEN), false),
    (("stp x22, x21, [sp, #-48]!", [0xa9bd_57f6, UDF], 1, LEN), false),
    (("sub sp, sp, #0x160", [0xd105_83ff, UDF], 1, LEN), false),
    (("sub sp, sp, #1, lsl #12", [0xd140_07ff, UDF], 1, LEN), false),
    (("bti c; stp x29, x30, [sp, #-64]!", [0xd503_245f, 0xa9bc_7bfd], 2, LEN), false),
    (("paciasp; stp x29, x30, [sp, #-64]!", [0xd503_233f, 0xa9bc_7bfd], 2, LEN), false),
    (("pacibsp; stp x29, x30, [sp, #-64]!", [0xd503_237f, 0xa9bc_7bfd], 2, LEN), false),
    (("paciasp; sub sp, sp, #0x160", [0xd503_233f, 0xd105_83ff], 2, LEN), false),
    (("cbz x0, .+0x48", [0xb400_0240, UDF], 0, LEN), false),
    (("ldr x8, [x0, #0x348]", [0xf941_a408, UDF], 0, LEN), false),
    (("bti c; ldr w8, [x0, #0x340]", [0xd503_245f, 0xb943_4008], 1, LEN), false),
    (("stp x29, x30, [sp, #-512]!, which nothing undoes", [0xa9a0_7bfd, UDF], 0, LEN), false),
    (("paciasp; stp ...; of seven instructions", [0xd503_233f, 0xa9bf_7bfd], 1, 7), false),
    (("paciasp; stp ...; of five instructions", [0xd503_233f, 0xa9bf_7bfd], 1, 5), true),
    (("mov x3, xzr; b .", [0xaa1f_03e3, 0x1400_0000], 0, 2), true),
    (("bti c; ret", [0xd503_245f, 0xd65f_03c0], 1, 2), true),
];

/// Functions that another tool has patched, or without room for a branch.
const UNFIT: [(&str, &[u32], Unfit); 9] = [
    ("brk #0x40d", &[0xd420_81a0, UDF, UDF, UDF, UDF, UDF], Unfit::Patched),
    ("b, out of the backend", &[0x1500_0002, UDF, UDF, UDF, UDF, UDF], Unfit::Patched),
    ("bti c; brk #0x40d", &[0xd503_245f, 0xd420_81a0, UDF, UDF, UDF, UDF], Unfit::Patched),
    ("stp ...; brk #0x40d", &[0xa9bc_7bfd, 0xd420_81a0, UDF, UDF, UDF, UDF], Unfit::Patched),
    ("ldr ...; three more; brk #0x40d", &[0xf941_a408, UDF, UDF, 0xd420_81a0, UDF, UDF], Unfit::Patched),
    ("stp ...; b, out of the backend", &[0xa9bc_7bfd, 0x1500_0002, UDF, UDF, UDF, UDF], Unfit::Patched),
    (
        "movz x16; movk; movk; br x16",
        &[0xd282_4690, 0xf2a0_0030, 0xf2c0_0030, 0xd61f_0200, UDF],
        Unfit::Patched,
    ),
    ("bti c, and nothing behind it", &[0xd503_245f], Unfit::TooShort),
    ("nothing", &[], Unfit::TooShort),
];

/// Returns the detour from the function of `len` instructions at `address` to the entry.
///
/// The island is after the function.
fn detour(address: usize, len: usize) -> Result<Detour, Unfit> {
    // SAFETY: memory of this process that holds instructions.
    let code = unsafe { core::slice::from_raw_parts(address as *const u8, 4 * len) };
    let backend = address..address + 4 * LEN;
    let site = Site { code, address, backend: &backend, island: Some(address + 4 * LEN) };
    machine::detour(&site, enter as *const () as usize)
}

/// Redirects the function at `function`, calls it, and restores it.
fn redirect(function: usize, ((name, first, stays, len), far): (Case, bool)) {
    let mut stock = [UDF; LEN];
    stock[..2].copy_from_slice(&first);
    let read = || unsafe_read::<[u32; LEN]>(function);
    linux::store(function, &stock);

    let Detour { offset, jump, island } = detour(function, len).unwrap_or_else(|_| panic!("{name}: refused"));
    assert_eq!((offset, island.is_some()), (4 * stays, far), "{name}");
    let place = function + offset;
    assert!(machine::is_writable(place));
    let words = jump.bytes().len() / 4;
    assert!(stays + words <= len, "{name}: a jump longer than the function");
    let before = Code::new(&unsafe_read::<[u8; 4 * LEN]>(function)[offset..], 4 * words);
    let before = before.unwrap_or_else(|| panic!("{name}: no code"));
    // SAFETY: memory of this process, which nobody executes now.
    unsafe {
        machine::write_text(place, &jump);
        island.iter().for_each(|island| machine::write_text(function + 4 * LEN, island));
    }
    machine::serialise();
    assert_eq!(read()[..stays], stock[..stays], "{name}: what was to stay");
    assert_eq!(read()[stays + words..], stock[stays + words..], "{name}: behind the jump");

    let calls = CALLS.load(Ordering::SeqCst);
    // SAFETY: a function that goes to the entry of body().
    let result = unsafe { call(function) };
    assert_eq!(result, RESULT, "{name}: its result, and its caller's registers");
    assert_eq!((CALLS.load(Ordering::SeqCst), inside()), (calls + 1, 0), "{name}");

    // A second module finds the function redirected, unless the branch to the island hides that.
    assert!(far || matches!(detour(function, len), Err(Unfit::Patched)), "{name}: redirected twice");

    // SAFETY: as above.
    unsafe { machine::write_text(place, &before) };
    assert_eq!(read(), stock, "{name}: given back");
}

/// Checks that no detour is made for a patched function.
fn refuse(function: usize, (name, code, unfit): (&str, &[u32], Unfit)) {
    linux::store(function, code);
    let refused = detour(function, code.len()).err();
    assert_eq!(refused, Some(unfit), "{name}");
}

/// Checks the target of a jump to a kernel address, which is not mapped in this process.
fn jump_far(function: usize) {
    for entry in [0xffff_0000_0123_4568_usize, 0xffff_00fe_dcba_9874, 0xffff_ffff_ffff_fffc] {
        let code = [[0x40, 0x02, 0x00, 0xb4]; 4];
        let site = Site { code: code.as_flattened(), address: function, backend: &(0..0), island: None };
        let detour = machine::detour(&site, entry).unwrap_or_else(|_| panic!("no jump to {entry:#x}"));
        let words = detour.jump.bytes().as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        // Store all but the branch, then mov x0, x16; ret.
        for (place, word) in (function..).step_by(4).zip(words.take(3).chain([0xaa10_03e0, 0xd65f_03c0])) {
            linux::store(place, &[word]);
        }
        // SAFETY: code that returns a number.
        let address: extern "C" fn() -> usize = unsafe { core::mem::transmute(function) };
        assert_eq!(address(), entry);
    }
}

/// Reads the value at an address.
fn unsafe_read<T: Copy>(address: usize) -> T {
    // SAFETY: memory of this process that holds numbers.
    unsafe { (address as *const T).read_unaligned() }
}

/// Value of the counter when the entry reached the stopped instruction.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Address of that instruction, and the instruction itself.
static STOPPED: (AtomicUsize, AtomicU64) = (AtomicUsize::new(0), AtomicU64::new(0));

/// Handles a breakpoint: restores the instruction, which is executed next.
extern "C" fn trapped(_: i32, _: *const u8, _: *mut u8) {
    SEEN.store(inside(), Ordering::SeqCst);
    linux::store(STOPPED.0.load(Ordering::SeqCst), &[STOPPED.1.load(Ordering::SeqCst) as u32]);
}

/// Stops at each instruction of the entry, and checks the counter.
fn count_by_instruction() {
    const BRK: u32 = 0xd420_0000;
    let entry = enter as *const () as usize;
    linux::on_trap(trapped);
    for offset in (0..=*UNCOUNTED[1].end()).step_by(4) {
        STOPPED.0.store(entry + offset, Ordering::SeqCst);
        STOPPED.1.store(u64::from(unsafe_read::<u32>(entry + offset)), Ordering::SeqCst);
        SEEN.store(u64::MAX, Ordering::SeqCst);
        linux::store(entry + offset, &[BRK]);
        // SAFETY: the entry of body().
        assert_eq!(unsafe { call(entry) }, RESULT);
        let seen = SEEN.load(Ordering::SeqCst);
        let uncounted = UNCOUNTED.iter().any(|range| range.contains(&offset));
        // The instruction after a store that may have failed is treated as one where the thread is
        // not counted.
        let unsure = offset == *UNCOUNTED[0].end();
        assert_eq!(seen, u64::from(!uncounted || unsure), "at offset {offset} of the entry");
    }
}

/// Substitutes for the kernel's functions.
mod stubs {
    use super::linux;

    #[unsafe(no_mangle)]
    extern "C" fn arm64_get_writable_addr(address: usize, writable: *mut usize) -> bool {
        let Some(other) = linux::writable(address) else { return false };
        // SAFETY: the caller's.
        unsafe { writable.write(other) };
        true
    }

    #[unsafe(no_mangle)]
    static arm64_icache_sync_range: extern "C" fn(usize, usize) = linux::sync;
}

#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    // SAFETY: all zero is a struct pcpu.
    let mut pcpu: sys::pcpu = unsafe { core::mem::zeroed() };
    pcpu.pc_curthread = 0x1234 as *mut sys::thread;
    pcpu.pc_cpuid = 5;
    pcpu.pc_zpcpu_offset = PART;
    // SAFETY: no compiled code uses the register, and this function does not return.
    unsafe { core::arch::asm!("mov x18, {}", in(reg) &raw const pcpu) };
    entry::INSIDE.store(COUNTER.as_ptr().cast_mut().cast(), Ordering::SeqCst);

    assert_eq!((machine::curthread() as usize, machine::cpuid()), (0x1234, 5));
    let counter = entry::INSIDE.load(Ordering::SeqCst);
    // SAFETY: the counter is there.
    unsafe { machine::counter_u64_add(counter, 2) };
    assert_eq!(inside(), 2);
    // SAFETY: as above.
    unsafe { machine::counter_u64_add(counter, -2) };
    assert_eq!(inside(), 0);
    let here = (&raw const pcpu) as usize;
    assert!(machine::stack_pointer() <= here && here - machine::stack_pointer() < 1 << 16);
    assert_eq!(machine::code_address(0x002b_0000_1234_5678), 0x002b_0000_1234_5678);
    assert_eq!(machine::code_address(0x2ba3_0000_1234_5678), 0xffff_0000_1234_5678);
    // SAFETY: all zero is a struct pcb.
    let mut pcb: sys::pcb = unsafe { core::mem::zeroed() };
    pcb.pcb_x[10] = 29;
    pcb.pcb_sp = 31;
    assert_eq!((machine::saved_frame(&pcb), machine::saved_stack(&pcb)), (29, 31));

    let (mut arrived, mut parked) = (false, false);
    // SAFETY: bytes of this function.
    unsafe { machine::park(0x1234, &raw mut arrived, &raw mut parked) };
    assert!(arrived);

    linux::guard_text();
    let function = linux::map_code();
    assert!(!machine::is_writable(enter as *const () as usize), "what has no other address");
    jump_far(function + 4);
    for case in COMPILED {
        // Repeat across a page boundary.
        redirect(function, case);
        redirect(function + linux::PAGE - 12, case);
    }
    UNFIT.into_iter().for_each(|case| refuse(function, case));
    count_by_instruction();
    let _ = writeln!(
        linux::Console,
        "ok: {} functions redirected and given back, {} refused, {} instructions of an entry",
        COMPILED.len(),
        UNFIT.len(),
        UNCOUNTED[1].end() / 4 + 1
    );
    linux::exit(0)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(linux::Console, "{info}");
    linux::exit(1)
}
