//! The statistics counters.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::{Note, Point, Threads, thread};

/// A counter that must never be below zero.
pub struct DoubleCounter<T>(AtomicI64, PhantomData<T>);

impl<T: Threads> ktrace_engine::Counter for DoubleCounter<T> {
    fn new() -> Self {
        thread::assert_may_sleep("a counter was made");
        DoubleCounter(AtomicI64::new(0), PhantomData)
    }

    fn add(&self, n: i64) {
        T::pass(Point::Counter);
        let value = self.0.fetch_add(n, Relaxed).wrapping_add(n);
        assert!(value >= 0, "a counter is below zero: {value}");
        T::note(Note::Counted(n));
    }

    fn fetch(&self) -> u64 {
        T::pass(Point::Counter);
        self.0.load(Relaxed).cast_unsigned()
    }
}
