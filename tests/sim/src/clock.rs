//! The time of day: the machine's, or a deterministic one for a single thread.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ktrace_format::Timespec;

/// The nanoseconds between two readings of the deterministic clock.
const TICK: Duration = Duration::from_nanos(100);

thread_local! {
    static TICKING: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Makes the current thread's clock deterministic, from `start`. It advances with each reading, so
/// that no two readings are the same.
pub fn make_deterministic(start: Duration) {
    TICKING.set(Some(start));
}

/// Advances the current thread's deterministic clock.
pub fn advance(by: Duration) {
    if let Some(last) = TICKING.get() {
        TICKING.set(Some(last.saturating_add(by)));
    }
}

/// Returns the last reading of the current thread's deterministic clock.
pub fn last_reading() -> Option<Timespec> {
    TICKING.get().map(timespec)
}

/// Returns the time of day. Never goes backwards.
pub(crate) fn now() -> Timespec {
    if let Some(last) = TICKING.get() {
        let now = last.saturating_add(TICK);
        TICKING.set(Some(now));
        return timespec(now);
    }
    static START: OnceLock<(Duration, Instant)> = OnceLock::new();
    let (epoch, start) = START.get_or_init(|| {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (epoch, Instant::now())
    });
    timespec(epoch.saturating_add(start.elapsed()))
}

fn timespec(time: Duration) -> Timespec {
    Timespec { sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), nsec: i64::from(time.subsec_nanos()) }
}
