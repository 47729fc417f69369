//! The time of day. It advances with each reading, so that no two readings are the same, and on
//! request. Each thread of the host has its own.

use std::cell::Cell;
use std::time::Duration;

use ktrace_format::Timespec;

/// The time between two readings.
const TICK: Duration = Duration::from_nanos(100);

thread_local! {
    static LAST: Cell<Duration> = const { Cell::new(Duration::from_secs(1_000_000_000)) };
}

/// Sets the clock.
pub fn set(to: Duration) {
    LAST.set(to);
}

/// Advances the clock.
pub fn advance(by: Duration) {
    LAST.set(LAST.get().saturating_add(by));
}

/// Returns the last reading of the clock.
pub fn last_reading() -> Timespec {
    let time = LAST.get();
    Timespec { sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), nsec: i64::from(time.subsec_nanos()) }
}

/// Reads the clock.
pub(crate) fn now() -> Timespec {
    advance(TICK);
    last_reading()
}
