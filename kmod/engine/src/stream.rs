//! The stream of a trace file: records that are gathered until they are written.

use alloc::boxed::Box;
use alloc::vec;

use ktrace_format::{Header, Kind, PerKind, Timespec};

use crate::budget::Charge;
use crate::help::Look;
use crate::{Platform, Settings, Synchronous};

/// Result of adding a record to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The record is in the stream.
    Done {
        /// Set if the batch is to be written now.
        due: bool,
    },
    /// The record has no room until the records in the stream are written.
    Full,
    /// The record is too long to be gathered with others.
    TooLong,
    /// The record does not fit into the format.
    Unfit,
}

/// The end of a trace file that is yet to be written. Protected by the file's stream lock. Nothing
/// here locks, allocates or frees.
pub(crate) struct Stream<P: Platform> {
    /// The gathered records. `None` if there are none, and the memory for a buffer was refused.
    buffer: Option<Box<Buffer<P>>>,
    /// Number of records ever added, plus number of times that all records were taken out.
    end: u64,
}

impl<P: Platform> Stream<P> {
    pub(crate) fn new(buffer: Option<Box<Buffer<P>>>) -> Self {
        Stream { buffer, end: 0 }
    }

    /// Returns the position of the stream's end. It grows with each record, and whenever all
    /// records are taken out.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a record. Its time is the time that the kernel has noted for it, or now.
    ///
    /// A thread that may sleep fills the batch and no more. The room behind the batch is for
    /// threads that may not sleep.
    pub(crate) fn put(
        &mut self,
        header: &mut Header,
        record: &mut Synchronous<'_>,
        may_sleep: bool,
        settings: &Settings,
    ) -> Put {
        let Some(buffer) = self.buffer.as_deref_mut() else { return Put::Full };
        let len = record.len;
        if len > buffer.batch / 4 {
            return Put::TooLong;
        }
        let end = buffer.len.saturating_add(len);
        if may_sleep && end > buffer.batch {
            return Put::Full;
        }
        let Some(room) = buffer.bytes.get_mut(buffer.len..end) else { return Put::Full };
        let now = P::now();
        header.time = record.time(now);
        if record.encode(header, room).is_none() {
            return Put::Unfit;
        }
        if buffer.len == 0 {
            (buffer.since, buffer.due_at) = (now, settings.due_at(now));
        }
        buffer.len = end;
        buffer.records = buffer.records.saturating_add(1);
        buffer.tally.add(header.kind);
        self.end = self.end.saturating_add(1);
        Put::Done { due: buffer.is_due(now, settings) }
    }

    /// Returns whether the gathered records are a batch: see [`Buffer::is_due`].
    pub(crate) fn is_due(&self, now: Timespec, settings: &Settings) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.is_due(now, settings))
    }

    /// Returns the time at which the oldest record in the stream was added.
    pub(crate) fn since(&self) -> Option<Timespec> {
        self.buffer.as_ref().filter(|buffer| buffer.len != 0).map(|buffer| buffer.since)
    }

    /// Checks the gathered records. They are overdue if an earlier check has found them. `look` is
    /// the number of this check. The first check has number one.
    pub(crate) fn look(&mut self, look: u32) -> Look {
        let Some(buffer) = self.buffer.as_deref_mut().filter(|buffer| buffer.len != 0) else {
            return Look::Nothing;
        };
        if buffer.seen == 0 {
            buffer.seen = look;
        }
        if buffer.seen == look { Look::Waiting } else { Look::Overdue }
    }

    /// Returns the gathered records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| buffer.bytes())
    }

    /// Exchanges the buffer for another one if no records are gathered. Returns whether that is so.
    pub(crate) fn exchange_if_empty(&mut self, other: &mut Option<Box<Buffer<P>>>) -> bool {
        let is_empty = self.bytes().is_empty();
        if is_empty {
            core::mem::swap(&mut self.buffer, other);
        }
        is_empty
    }

    /// Takes out all gathered records, in exchange for an empty buffer, if there is one. Returns
    /// the end of the stream after that.
    pub(crate) fn take(&mut self, empty: &mut Option<Box<Buffer<P>>>) -> u64 {
        core::mem::swap(&mut self.buffer, empty);
        self.end = self.end.saturating_add(1);
        self.end
    }
}

/// Whole records, one after the other.
pub(crate) struct Buffer<P: Platform> {
    /// Room for a batch, and an eighth more for threads that may not sleep.
    bytes: Box<[u8]>,
    /// Size of a batch in bytes.
    batch: usize,
    len: usize,
    records: usize,
    tally: Tally,
    /// Time at which the first record was added, and time at which half of the latency that was set
    /// then has passed.
    since: Timespec,
    due_at: Timespec,
    /// Number of the first check that found records; zero if none has.
    seen: u32,
    _charge: Charge<P>,
}

impl<P: Platform> Buffer<P> {
    /// Returns the length of a buffer for batches of `batch` bytes.
    pub(crate) fn len(batch: usize) -> usize {
        batch.saturating_add(batch / 8)
    }

    /// Creates an empty buffer for batches of `batch` bytes. `charge` is for its length. Allocates,
    /// and so may sleep.
    pub(crate) fn new(_: P::MaySleep, charge: Charge<P>, batch: usize) -> Box<Self> {
        let bytes = vec![0; Self::len(batch)].into_boxed_slice();
        let (since, due_at) = (Timespec::default(), Timespec::default());
        let tally = Tally::default();
        Box::new(Buffer { bytes, batch, len: 0, records: 0, tally, since, due_at, seen: 0, _charge: charge })
    }

    /// Returns whether the records are a batch: they are many or large, or half of the latency has
    /// passed. In the other half, another thread takes care of them.
    fn is_due(&self, now: Timespec, settings: &Settings) -> bool {
        self.len >= self.batch
            || self.records >= settings.batch_records()
            || self.len != 0 && now >= self.due_at
    }

    /// Returns the size of a batch in bytes.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Returns the number of records of each type.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Makes the buffer empty again.
    pub(crate) fn clear(&mut self) {
        (self.len, self.records, self.seen) = (0, 0, 0);
        self.tally.clear();
    }
}

/// Number of records of each type.
#[derive(Default)]
pub(crate) struct Tally {
    /// Types of which there is a record ([`Kind::facility`]).
    present: u32,
    /// Number of records of those types; meaningless for other types.
    of: PerKind<u32>,
}

impl Tally {
    fn add(&mut self, kind: Kind) {
        let before = if self.present & kind.facility() == 0 { 0 } else { *self.of.get(kind) };
        *self.of.get_mut(kind) = before.saturating_add(1);
        self.present |= kind.facility();
    }

    /// Returns the types of which there is a record, and the number of records of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, u32)> {
        let mut left = self.present;
        core::iter::from_fn(move || {
            // The number of a type. If no bit is left it is 32, which is no type.
            let kind = Kind::from_number(left.trailing_zeros() as u16)?;
            left &= !kind.facility();
            Some((kind, *self.of.get(kind)))
        })
    }

    fn clear(&mut self) {
        self.present = 0;
    }
}
