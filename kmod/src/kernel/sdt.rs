//! SDT(9) probes: the events of the engine, for dtrace(1).

use kernel_sys as sys;
use ktrace_engine::Event;
use ktrace_format::split_record;

use super::vnode::TraceVnode;

/// Determines whether the kernel has probes (options KDTRACE_HOOKS). Must be called at load.
pub(crate) fn init() {
    // SAFETY: no other thread is inside the module yet.
    unsafe { sys::ktrace_rs_sdt_init() };
}

/// Returns whether any probe of the kernel is enabled. Any context.
fn is_watched() -> bool {
    // SAFETY: the pointer is set at load, and refers to a flag that stays. The flag is read as it
    // is written, as a whole.
    unsafe { sys::ktrace_rs_sdt_watched.read_volatile() }
}

/// Fires the probe of an event, if any probe of the kernel is enabled. Any context.
pub(crate) fn watch(event: Event<'_, TraceVnode>) {
    if is_watched() {
        tell(&event);
    }
}

#[cold]
fn tell(event: &Event<'_, TraceVnode>) {
    // SAFETY: probes accept any numbers, in any context. The vnodes are referenced.
    unsafe {
        match *event {
            Event::Made { kind, len, may_sleep } => {
                sys::ktrace_rs_sdt_made(i32::from(kind as u16), len, may_sleep);
            }
            Event::Queued { kind, len, queued } => {
                sys::ktrace_rs_sdt_queued(i32::from(kind as u16), len, queued);
            }
            Event::Committed { file, records, ticks } => {
                let (mut rest, mut count) = (records, 0_u64);
                while let Some((.., behind)) = split_record(rest) {
                    (rest, count) = (behind, count.saturating_add(1));
                }
                let ns = sys::cputick2usec(ticks).saturating_mul(1000);
                sys::ktrace_rs_sdt_committed(file.vnode(false), records.len(), count, ns);
            }
            Event::Dropped { kind } => sys::ktrace_rs_sdt_dropped(i32::from(kind as u16)),
            Event::Full { file } => sys::ktrace_rs_sdt_full_begin(file.vnode(false)),
            Event::Room { file } => sys::ktrace_rs_sdt_full_end(file.vnode(false)),
        }
    }
}
