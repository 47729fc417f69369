//! The statistics counters.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::flaw::{self, Flaw};
use crate::point::Point;
use crate::{context, task};

/// A counter that must never be below zero.
pub struct ModelCounter {
    value: AtomicI64,
    point: Point,
}

impl ktrace_engine::Counter for ModelCounter {
    fn new() -> Self {
        context::assert_may_lock("a counter was made");
        ModelCounter { value: AtomicI64::new(0), point: Point::new() }
    }

    fn add(&self, n: i64) {
        self.point.pass_counting();
        if flaw::is(Flaw::LostUpdates) {
            let value = self.value.load(Relaxed);
            self.point.pass_counting();
            self.value.store(value.wrapping_add(n), Relaxed);
        } else {
            let value = self.value.fetch_add(n, Relaxed).wrapping_add(n);
            assert!(value >= 0, "a counter is below zero: {value}");
        }
        task::note_change(self, n);
    }

    fn fetch(&self) -> u64 {
        self.point.pass_counting();
        self.value.load(Relaxed).cast_unsigned()
    }
}
