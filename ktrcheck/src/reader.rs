//! The reader of a trace, which also finds the next record after bytes that are not one.

use std::io;

use ktrace_format::{HEADER_LEN, HEADER_V0_LEN, Version};

use crate::head::{Head, NotAHeader, header_len};
use crate::window::Window;
use crate::{Source, byte_order};

/// Number of bytes held in memory at a time.
const WINDOW: usize = 256 * 1024;

/// Number of bytes held from another place, used to check the end of a record.
const AHEAD: usize = 4096;

/// Number of payload bytes that are checked. Only data payloads are longer.
const FRONT: usize = 4096;

/// Number of consecutive records required to resume after damage.
///
/// Two are enough: random bytes pass the checks of a header with a probability of 2^-100.
const LINKS: usize = 2;

/// Length of a header's front that contains its type, and so a byte that is not zero.
const TYPE_END: u64 = 6;

/// Item at one position of a trace.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A record and the first bytes of its payload.
    Record(Head, &'a [u8]),
    /// Bytes that are not a record, up to the next record if one follows.
    Damage { next: Option<u64>, why: NotAHeader },
    /// A record that extends past the end of the trace.
    CutOff,
    /// The first record of a trace of another byte order. No other item follows it.
    OtherByteOrder,
}

/// Reader of a trace from its start to its end.
pub(crate) struct Reader<'a, S: ?Sized> {
    source: &'a S,
    size: u64,
    next: u64,
    window: Window<'a, S>,
    ahead: Window<'a, S>,
    progress: &'a dyn Fn(u64),
}

impl<'a, S: Source + ?Sized> Reader<'a, S> {
    /// Creates a reader that calls `progress` with the number of bytes read.
    pub(crate) fn new(source: &'a S, progress: &'a dyn Fn(u64)) -> Self {
        Reader {
            source,
            size: source.size(),
            next: 0,
            window: Window::new(source, WINDOW),
            ahead: Window::new(source, AHEAD),
            progress,
        }
    }

    /// Returns the next item and its offset, or `None` at the end of the trace.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Item<'_>)>> {
        let at = self.next;
        (self.progress)(at);
        if at >= self.size {
            return Ok(None);
        }
        let bytes = self.window.from(at, HEADER_LEN)?;
        let head = match Head::read(bytes) {
            Ok(head) => head,
            Err(_) if at == 0 && byte_order::is_other(bytes) => {
                self.next = self.size;
                return Ok(Some((at, Item::OtherByteOrder)));
            }
            Err(NotAHeader::Short) => {
                self.next = self.size;
                return Ok(Some((at, Item::CutOff)));
            }
            Err(why) => {
                let found = match self.behind(at)? {
                    Some(behind) => Some(behind),
                    None => self.scan(at.saturating_add(1))?,
                };
                let next = found.filter(|found| *found < self.size);
                self.next = next.unwrap_or(self.size);
                return Ok(Some((at, Item::Damage { next, why })));
            }
        };
        let end = at.saturating_add(head.record_len());
        if let Some(next) = self.inside(at, &head, end)? {
            self.next = next;
            return Ok(Some((at, Item::Damage { next: Some(next), why: NotAHeader::Length })));
        }
        if end > self.size {
            self.next = self.size;
            return Ok(Some((at, Item::CutOff)));
        }
        self.next = end;
        let len = usize::try_from(head.len).map_or(FRONT, |len| len.min(FRONT));
        let bytes = self.window.from(at.saturating_add(head.header_len()), len)?;
        Ok(Some((at, Item::Record(head, bytes.get(..len).unwrap_or_default()))))
    }

    /// Returns the offset inside the record at `at` where other records begin.
    ///
    /// Returns `None` if the record's length is right: a record begins at its end, or damage does
    /// whose length leads to further records.
    fn inside(&mut self, at: u64, head: &Head, end: u64) -> io::Result<Option<u64>> {
        if end == self.size || head.is_of_fixed_len() {
            return Ok(None);
        }
        if end < self.size && (self.head(end)?.is_ok() || self.behind(end)?.is_some()) {
            return Ok(None);
        }
        let found = self.scan(at.saturating_add(head.header_len()))?;
        Ok(found.filter(|found| *found < end))
    }

    /// Returns the end of a record with a bad header at `at`, if its length leads to other records.
    fn behind(&mut self, at: u64) -> io::Result<Option<u64>> {
        let len = self.ahead.from(at, HEADER_LEN)?.first_chunk().copied().map(i32::from_ne_bytes);
        let Some(len) = len.and_then(|len| u64::try_from(len).ok()) else {
            return Ok(None);
        };
        for version in [Version::V1, Version::V0] {
            let end = at.saturating_add(header_len(version)).saturating_add(len);
            if self.is_followed(end)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Returns the first offset at or after `at` where consecutive records begin.
    fn scan(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while self.size.saturating_sub(at) >= HEADER_V0_LEN as u64 {
            (self.progress)(at);
            let bytes = self.window.from(at, HEADER_LEN)?;
            let (len, zeroes) = (bytes.len() as u64, zeroes(bytes) as u64);
            if zeroes == len {
                let data = self.source.data_from(at.saturating_add(len));
                at = data.saturating_sub(TYPE_END);
            } else if zeroes > TYPE_END {
                at = at.saturating_add(zeroes - TYPE_END);
            } else if let Some(skip) = bytes.windows(HEADER_V0_LEN).position(Head::may_begin) {
                at = at.saturating_add(skip as u64);
                if self.is_followed(at)? {
                    return Ok(Some(at));
                }
                at = at.saturating_add(1);
            } else {
                at = at.saturating_add(len - (HEADER_V0_LEN as u64 - 1));
            }
        }
        Ok(None)
    }

    /// Returns whether consecutive records begin at `at`.
    ///
    /// [`LINKS`] records are required, or fewer up to the end of the trace, where the last may be
    /// cut off.
    fn is_followed(&mut self, mut at: u64) -> io::Result<bool> {
        for link in 0..LINKS {
            if at >= self.size {
                return Ok(at == self.size);
            }
            let end = match self.head(at)? {
                Ok(head) => at.saturating_add(head.record_len()),
                Err(NotAHeader::Short) => return Ok(link > 0),
                Err(_) => return Ok(false),
            };
            if end > self.size {
                return Ok(link > 0);
            }
            at = end;
        }
        Ok(true)
    }

    /// Returns the header at `at` without moving the window.
    fn head(&mut self, at: u64) -> io::Result<Result<Head, NotAHeader>> {
        let bytes = match self.window.held(at, HEADER_LEN) {
            Some(bytes) => bytes,
            None => self.ahead.from(at, HEADER_LEN)?,
        };
        Ok(Head::read(bytes))
    }
}

/// Returns the number of zero bytes at the front. It may be too low if other bytes follow them.
fn zeroes(bytes: &[u8]) -> usize {
    const CHUNK: usize = 64;
    let is_zero = |chunk: &&[u8]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
    bytes.chunks(CHUNK).take_while(is_zero).map(<[u8]>::len).sum()
}
