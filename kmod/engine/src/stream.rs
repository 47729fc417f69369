//! What the records of a trace file are gathered in until they are written.

use alloc::boxed::Box;
use alloc::vec;

use ktrace_format::{Header, Timespec};

use crate::{Platform, Settings, Synchronous};

/// Whether a record got into a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It did.
    Done {
        /// Its length in bytes.
        len: usize,
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
    buffer: Buffer,
    /// Number of records that were ever put in, and of times that all were taken out.
    end: u64,
}

impl Stream {
    pub(crate) fn new(buffer: Buffer) -> Self {
        Stream { buffer, end: 0 }
    }

    /// Where the stream ends: that number is larger after each record, and whenever all are taken
    /// out.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a record, with the time as it is now.
    ///
    /// Whoever may sleep fills up a batch and no more: what is behind it is for those who may not.
    pub(crate) fn put<P: Platform>(
        &mut self,
        header: &Header,
        record: &mut Synchronous<'_>,
        may_sleep: bool,
        settings: &Settings,
    ) -> Put {
        let len = record.len();
        if len > self.buffer.batch / 4 {
            return Put::TooLong;
        }
        let room = if may_sleep { self.buffer.batch } else { self.buffer.bytes.len() };
        if self.buffer.len.saturating_add(len) > room {
            return Put::Full;
        }
        let time = P::now();
        let free = self.buffer.bytes.get_mut(self.buffer.len..).unwrap_or_default();
        if record.encode(&Header { time, ..*header }, free).is_none() {
            return Put::Unfit;
        }
        if self.buffer.records == 0 {
            self.buffer.since = time;
        }
        self.buffer.len = self.buffer.len.saturating_add(len);
        self.buffer.records = self.buffer.records.saturating_add(1);
        self.end = self.end.saturating_add(1);
        Put::Done { len, due: self.is_due(time, settings) }
    }

    /// Whether what is gathered is a batch: it is large, or so old that half of the latency is over;
    /// another thread looks after it in the other half.
    pub(crate) fn is_due(&self, now: Timespec, settings: &Settings) -> bool {
        let Buffer { len, batch, records, since, .. } = self.buffer;
        len >= batch
            || records >= settings.batch_records()
            || len != 0 && now.since(since) / 500_000 >= u64::from(settings.latency())
    }

    /// When the oldest record that is gathered was made.
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

    /// Takes out all that is gathered, in exchange for an empty buffer.
    pub(crate) fn take(&mut self, empty: &mut Buffer) {
        core::mem::swap(&mut self.buffer, empty);
        self.end = self.end.saturating_add(1);
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
    /// Time of the first record.
    since: Timespec,
    /// The first look that found something; zero if none has.
    seen: u32,
}

impl Buffer {
    /// An empty buffer for batches of so many bytes. Allocates, and so may sleep.
    pub(crate) fn new<P: Platform>(_: P::MaySleep, batch: usize) -> Self {
        let bytes = vec![0; batch.saturating_add(batch / 8)].into_boxed_slice();
        Buffer { bytes, batch, len: 0, records: 0, since: Timespec::default(), seen: 0 }
    }

    /// Bytes of a batch.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// The records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Makes the buffer empty again.
    pub(crate) fn clear(&mut self) {
        (self.len, self.records, self.seen) = (0, 0, 0);
    }
}
