//! The memory of queues: segments of fixed size, and those that a user's traces share.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;

use ktrace_format::{Record, Timespec};

use crate::budget::{Budget, Charge, User};
use crate::list::{Entry, List, Shared};
use crate::{Engine, Mutex, Platform, QUEUE_LIMIT_DEFAULT, TraceFile};

/// Size of a segment in bytes. The largest record that is made where sleeping is not
/// allowed (`KTR_CAPFAIL`, 1104 bytes) fits.
pub const SEGMENT_LEN: usize = 4096;

/// Whole records, one after the other, that go to one file.
pub(crate) struct Segment<P: Platform> {
    bytes: Box<[u8]>,
    len: usize,
    file: Option<Arc<TraceFile<P>>>,
    /// Time at which the segment was opened.
    since: Timespec,
    charge: Charge<P>,
}

/// Segments. The one that was added last comes first.
pub(crate) type Segments<P> = List<Segment<P>>;

impl<P: Platform> Segment<P> {
    /// Creates an empty segment. Returns `None` if the user may not have more memory. Allocates,
    /// and so may sleep.
    fn new(_: P::MaySleep, budget: &Arc<Budget<P>>) -> Option<Box<Entry<Self>>> {
        let charge = budget.charge(SEGMENT_LEN)?;
        let bytes = vec![0; SEGMENT_LEN].into_boxed_slice();
        Some(Entry::new(Segment { bytes, len: 0, file: None, since: Timespec::default(), charge }))
    }

    /// Sets the file that the records go to. The caller adds the first record next.
    pub(crate) fn open(&mut self, file: Arc<TraceFile<P>>, now: Timespec) {
        self.file = Some(file);
        self.since = now;
    }

    /// Returns the time at which the segment was opened for its first record.
    pub(crate) fn since(&self) -> Timespec {
        self.since
    }

    /// Returns the file that the records go to; `None` if the segment is empty.
    pub(crate) fn file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.file.as_ref()
    }

    /// Returns whether the records go to `file`.
    pub(crate) fn is_for(&self, file: &Arc<TraceFile<P>>) -> bool {
        self.file.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, file))
    }

    /// Returns the records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Adds a record. Returns false if there is no room for it, or if it goes to another file.
    pub(crate) fn push(&mut self, file: &Arc<TraceFile<P>>, record: &Record<'_>) -> bool {
        if !self.is_for(file) {
            return false;
        }
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        match record.encode(room) {
            Ok(len) => {
                self.len = self.len.saturating_add(len);
                true
            }
            Err(_) => false,
        }
    }

    /// Makes the segment empty again. Returns the reference to its file, to be dropped where
    /// sleeping is allowed.
    pub(crate) fn reset(&mut self) -> Option<Arc<TraceFile<P>>> {
        self.len = 0;
        self.file.take()
    }
}

/// The segments that are ready for the queues of one user's processes. A queue takes one where
/// memory cannot be allocated.
///
/// Segments have a reference to the budget, and not to the pool, which has them.
pub(crate) struct Pool<P: Platform> {
    budget: Arc<Budget<P>>,
    /// Pool lock.
    ready: P::Mutex<Segments<P>>,
}

/// A pool in the list of those that all traces of a user share.
pub(crate) type SharedPool<P> = Shared<User, Pool<P>>;

impl<P: Platform> Pool<P> {
    /// Returns the pool of a user, full if the user's budget allows it. May sleep; takes the pools
    /// lock and the pool lock.
    pub(crate) fn of(may_sleep: P::MaySleep, engine: &Arc<Engine<P>>, user: User) -> Arc<Self> {
        let pool = Arc::new(Pool {
            budget: Budget::new(Arc::clone(engine), user),
            ready: P::Mutex::new(c"ktrace_rs pool", List::new()),
        });
        let pool = Shared::find_or_add(&engine.pools, user, pool);
        pool.refill(may_sleep);
        pool
    }

    /// Returns the budget of the user.
    pub(crate) fn budget(&self) -> &Arc<Budget<P>> {
        &self.budget
    }

    /// Returns how many segments the pool should have: as many as the queue of one process may, or
    /// may by default if that is less.
    fn wanted(&self) -> usize {
        self.budget.engine().settings.queue_limit().min(QUEUE_LIMIT_DEFAULT) / SEGMENT_LEN
    }

    /// Takes a segment out, if there is one. Also returns whether few are left. Takes the pool
    /// lock.
    pub(crate) fn take(&self) -> (Option<Box<Entry<Segment<P>>>>, bool) {
        let wanted = self.wanted();
        self.ready.with(|ready| (ready.pop(), ready.len() < wanted / 2))
    }

    /// Allocates what the pool lacks, if the user's budget allows it. May sleep; takes the pool
    /// lock.
    pub(crate) fn refill(&self, may_sleep: P::MaySleep) {
        let lacks = self.wanted().saturating_sub(self.ready.with(|ready| ready.len()));
        if lacks != 0 {
            self.give(may_sleep, self.allocate(may_sleep, lacks));
        }
    }

    /// Returns `count` segments, or fewer if the user may not have more memory.
    /// [Refills](Pool::refill) the pool if few are left. May sleep; takes the pool lock.
    pub(crate) fn supply(&self, may_sleep: P::MaySleep, count: usize) -> Segments<P> {
        let wanted = self.wanted();
        let (mut supply, is_low) = self.ready.with(|ready| {
            let mut taken = List::new();
            taken.take_from(ready, count);
            (taken, ready.len() < wanted / 2)
        });
        let mut lacking = self.allocate(may_sleep, count.saturating_sub(supply.len()));
        supply.take_from(&mut lacking, usize::MAX);
        if is_low {
            self.refill(may_sleep);
        }
        supply
    }

    /// Adds empty segments. Frees those that are charged to another user, or that are too many. May
    /// sleep; takes the pool lock.
    pub(crate) fn give(&self, _: P::MaySleep, mut segments: Segments<P>) {
        let foreign = segments.remove(|segment| !self.owns(segment));
        let most = self.wanted().saturating_mul(2);
        if segments.len() != 0 {
            self.ready.with(|ready| {
                let room = most.saturating_sub(ready.len());
                ready.take_from(&mut segments, room);
            });
        }
        drop((foreign, segments));
    }

    fn allocate(&self, may_sleep: P::MaySleep, count: usize) -> Segments<P> {
        let mut segments = List::new();
        (0..count)
            .map_while(|_| Segment::new(may_sleep, &self.budget))
            .for_each(|segment| segments.push(segment));
        segments
    }

    /// Returns whether a segment is charged to the pool's user.
    pub(crate) fn owns(&self, segment: &Segment<P>) -> bool {
        segment.charge.is_to(&self.budget)
    }
}

impl<P: Platform> Drop for Pool<P> {
    /// Ends sharing.
    fn drop(&mut self) {
        Shared::remove(&self.budget.engine().pools, self);
    }
}
