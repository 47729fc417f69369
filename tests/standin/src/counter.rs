//! counter(9). The parts of a counter are as far from each other as the `struct pcpu`s of the CPUs.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel_sys as sys;

use crate::host::{HostLock, config, current, violation};
use crate::low::Region;
use crate::machine::counter_base;
use crate::sched::{pcpu_base, point};
use crate::witness;

const STRIDE: usize = size_of::<sys::pcpu>();
/// The number of counters in a region.
const SLOTS: usize = STRIDE / 8;
/// The value of a freed counter.
const FREED: u64 = 0xdead_c0de_dead_c0de;

#[derive(Default)]
struct Counters {
    regions: Vec<usize>,
    /// The number of slots ever allocated. No slot is used twice.
    used: usize,
    freed: Vec<usize>,
}

static COUNTERS: OnceLock<HostLock<Counters>> = OnceLock::new();

fn counters() -> &'static HostLock<Counters> {
    COUNTERS.get_or_init(|| HostLock::new(Counters::default()))
}

/// Returns the number of allocated counters.
pub(crate) fn live() -> i64 {
    let counters = counters().lock();
    (counters.used - counters.freed.len()) as i64
}

/// Checks that no counter was changed after it was freed.
pub(crate) fn check_freed() {
    let freed = counters().lock().freed.clone();
    for address in freed {
        if parts(address).any(|part| part.load(Ordering::Relaxed) != FREED) {
            violation!(Memory, "a counter was added to after it was freed");
        }
    }
}

/// Returns the parts of the counter whose first part is at `address`.
fn parts(address: usize) -> impl Iterator<Item = &'static AtomicU64> {
    // SAFETY: each CPU has a part, in a region that is never unmapped.
    (0..config().cpus).map(move |cpu| unsafe { &*((address + cpu * STRIDE) as *const AtomicU64) })
}

fn address_of(counter: sys::counter_u64_t) -> usize {
    (counter as usize).wrapping_add(counter_base(pcpu_base()))
}

pub(crate) unsafe extern "C" fn counter_u64_alloc(flags: c_int) -> sys::counter_u64_t {
    if flags.cast_unsigned() & sys::M_WAITOK != 0 {
        witness::may_sleep(current(), format_args!("counter_u64_alloc() with M_WAITOK"));
    }
    point();
    let mut counters = counters().lock();
    let slot = counters.used;
    if slot.is_multiple_of(SLOTS) {
        counters.regions.push(Region::anywhere(config().cpus * STRIDE).base);
    }
    counters.used += 1;
    let address = counters.regions[slot / SLOTS] + slot % SLOTS * 8;
    address.wrapping_sub(counter_base(pcpu_base())) as sys::counter_u64_t
}

pub(crate) unsafe extern "C" fn counter_u64_free(counter: sys::counter_u64_t) {
    point();
    let address = address_of(counter);
    let mut counters = counters().lock();
    if counters.freed.contains(&address) {
        drop(counters);
        violation!(Memory, "a counter is freed twice");
    }
    counters.freed.push(address);
    parts(address).for_each(|part| part.store(FREED, Ordering::Relaxed));
}

pub(crate) unsafe extern "C" fn counter_u64_fetch(counter: sys::counter_u64_t) -> u64 {
    parts(address_of(counter)).fold(0, |sum, part| sum.wrapping_add(part.load(Ordering::Relaxed)))
}
