//! The statistics counters.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::context;
use crate::interleave::{Point, point};

/// A counter that all threads share.
pub struct HostCounter(AtomicI64);

impl ktrace_engine::Counter for HostCounter {
    fn new() -> Self {
        context::assert_may_sleep("a counter was made");
        HostCounter(AtomicI64::new(0))
    }

    fn add(&self, n: i64) {
        point(Point::Counter);
        self.0.fetch_add(n, Ordering::Relaxed);
        point(Point::Counter);
    }

    fn fetch(&self) -> u64 {
        self.0.load(Ordering::Relaxed).cast_unsigned()
    }
}
