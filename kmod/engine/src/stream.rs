//! What the records of a trace file are gathered in until they are written.

use alloc::boxed::Box;
use alloc::vec;

use ktrace_format::{Header, Kind, PerKind, Timespec};

use crate::{Platform, Settings, Synchronous};

/// Whether a record got into a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It did.
    Done {
        /// The batch is to be written now.
        due: bool,
    },
    /// Not before what is in the stream is written.
    Full,
    /// It is not gathered with others: it is too long.
    TooLong,
    /// The format has no room for it.
    Unfit,
}

/// The end of a trace file, as it will be. Guarded by the file's stream lock; nothing here locks,
/// allocates or frees.
pub(crate) struct Stream {
    buffer: Box<Buffer>,
    /// Number of records that were ever put in, and of times that all were taken out.
    end: u64,
}

impl Stream {
    pub(crate) fn new(buffer: Box<Buffer>) -> Self {
        Stream { buffer, end: 0 }
    }

    /// Where the stream ends: that number is larger after each record, and whenever all are taken
    /// out.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a record. Its time is the one that the kernel has noted for it, or now.
    ///
    /// Whoever may sleep fills up a batch and no more: what is behind it is for those who may not.
    pub(crate) fn put<P: Platform>(
        &mut self,
        header: &mut Header,
        record: &mut Synchronous<'_>,
        may_sleep: bool,
        settings: &Settings,
    ) -> Put {
        let buffer = &mut *self.buffer;
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
        Put::Done { due: self.is_due(now, settings) }
    }

    /// Whether what is gathered is a batch: it is large, or so old that half of the latency is over;
    /// another thread looks after it in the other half.
    pub(crate) fn is_due(&self, now: Timespec, settings: &Settings) -> bool {
        let Buffer { len, batch, records, due_at, .. } = *self.buffer;
        len >= batch || records >= settings.batch_records() || len != 0 && now >= due_at
    }

    /// When the oldest record in the stream was added.
    pub(crate) fn since(&self) -> Option<Timespec> {
        (self.buffer.len != 0).then_some(self.buffer.since)
    }

    /// Whether an earlier look than this one, which all have numbers from one on, found what is
    /// gathered.
    pub(crate) fn is_overdue(&mut self, look: u32) -> bool {
        if self.buffer.len == 0 {
            return false;
        }
        if self.buffer.seen == 0 {
            self.buffer.seen = look;
        }
        self.buffer.seen != look
    }

    /// The records that are gathered.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Takes out all that is gathered, in exchange for an empty buffer. Returns where the stream ends
    /// then.
    pub(crate) fn take(&mut self, empty: &mut Box<Buffer>) -> u64 {
        core::mem::swap(&mut self.buffer, empty);
        self.end = self.end.saturating_add(1);
        self.end
    }
}

/// Some whole records, one after the other.
pub(crate) struct Buffer {
    /// A batch, and an eighth of it for those who may not sleep.
    bytes: Box<[u8]>,
    /// Bytes of a batch.
    batch: usize,
    len: usize,
    records: usize,
    tally: Tally,
    /// When the first record was added, and when half of the latency is over that was set then.
    since: Timespec,
    due_at: Timespec,
    /// The first look that found something; zero if none has.
    seen: u32,
}

impl Buffer {
    /// An empty buffer for batches of so many bytes. Allocates, and so may sleep.
    pub(crate) fn new<P: Platform>(_: P::MaySleep, batch: usize) -> Box<Self> {
        let bytes = vec![0; batch.saturating_add(batch / 8)].into_boxed_slice();
        let (since, due_at) = (Timespec::default(), Timespec::default());
        let tally = Tally::default();
        Box::new(Buffer { bytes, batch, len: 0, records: 0, tally, since, due_at, seen: 0 })
    }

    /// Bytes of a batch.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// The records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How many records of each type they are.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Makes the buffer empty again.
    pub(crate) fn clear(&mut self) {
        (self.len, self.records, self.seen) = (0, 0, 0);
        self.tally.clear();
    }
}

/// How many records there are of each type.
#[derive(Default)]
pub(crate) struct Tally {
    /// Types that there are any of ([`Kind::facility`]).
    present: u32,
    /// How many, of those types; of others, anything.
    of: PerKind<u32>,
}

impl Tally {
    fn add(&mut self, kind: Kind) {
        let before = if self.present & kind.facility() == 0 { 0 } else { *self.of.get(kind) };
        *self.of.get_mut(kind) = before.saturating_add(1);
        self.present |= kind.facility();
    }

    /// The types that there are any of, and how many.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, u32)> {
        let mut left = self.present;
        core::iter::from_fn(move || {
            // The number of a type; none if no bit is left.
            let kind = Kind::from_number(left.trailing_zeros() as u16)?;
            left &= !kind.facility();
            Some((kind, *self.of.get(kind)))
        })
    }

    fn clear(&mut self) {
        self.present = 0;
    }
}
