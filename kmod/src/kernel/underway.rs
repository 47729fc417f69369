//! Waiting until threads have got past what they were about to do.
//!
//! A trace point looks at `p_traceflag`, and calls the backend some instructions later. A thread
//! may be held up between the two while tracing ends. The stock backend would queue the record
//! on its process, where nobody looks for it any more: before the stock functions are back, every
//! such thread has to be past its call.

use alloc::vec::Vec;

use kernel_sys as sys;

use super::context::MaySleep;
use super::proc::{Thread, gather_traced};
use super::stop::Stopped;

/// Threads that were running, or about to, in processes that had been traced.
///
/// A trace point whose record would be queued does not wait between look and call. So who waits is
/// in none, and comes to the next one when tracing has ended; and who has been switched from twice
/// has run in between. (Others, such as ktrgenio()'s, may wait; the stock backend finds no file
/// for their record then, and frees it.)
pub(crate) struct Underway {
    /// Sorted by number.
    threads: Vec<Seen>,
}

/// A thread, and how often it had been switched from.
struct Seen {
    tid: i32,
    generation: u32,
}

impl Underway {
    /// Those that are underway now, but for the current one. May sleep.
    pub(crate) fn note(may_sleep: MaySleep) -> Self {
        let mut threads = gather_traced(may_sleep, |p, give| {
            for td in p.threads().filter(|td| !td.waits() && *td != Thread::current()) {
                give(Seen { tid: td.tid(), generation: td.generation() });
            }
        });
        threads.sort_unstable_by_key(|seen| seen.tid);
        Underway { threads }
    }

    /// Has each CPU switch from what it runs, as one of them may run for long. May sleep.
    pub(crate) fn switch_from(&self, _: MaySleep) {
        if self.threads.is_empty() {
            return;
        }
        // SAFETY: mp_maxid does not change after boot.
        for cpu in 0..=unsafe { sys::mp_maxid }.cast_signed() {
            // SAFETY: any number up to mp_maxid may be asked for; the current thread may sleep, is
            // bound to no CPU, so that it may be bound, and is not any more in the end.
            unsafe {
                if !sys::ktrace_rs_cpu_absent(cpu) {
                    sys::ktrace_rs_sched_bind(cpu);
                    sys::ktrace_rs_sched_unbind();
                }
            }
        }
    }

    /// Whether one of them may not be past its call.
    pub(crate) fn is_left(&self, stopped: &Stopped<'_>) -> bool {
        stopped.threads().map(|stopped| stopped.thread()).filter(|td| !td.waits()).any(|td| {
            let index = self.threads.binary_search_by_key(&td.tid(), |seen| seen.tid).ok();
            let seen = index.and_then(|index| self.threads.get(index));
            seen.is_some_and(|seen| td.generation().wrapping_sub(seen.generation) < 2)
        })
    }
}
