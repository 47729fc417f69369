//! The part of a trace that is in memory.

use std::io;

use crate::Source;

/// A buffer over a part of a trace, which moves when another part is requested.
pub(crate) struct Window<'a, S: ?Sized> {
    source: &'a S,
    start: u64,
    bytes: Vec<u8>,
    capacity: usize,
}

impl<'a, S: Source + ?Sized> Window<'a, S> {
    /// Creates a window that holds up to `capacity` bytes.
    pub(crate) fn new(source: &'a S, capacity: usize) -> Self {
        Window { source, start: 0, bytes: Vec::new(), capacity }
    }

    /// Returns the bytes in memory from `offset` on, at least `least` or up to the end of the
    /// trace.
    ///
    /// `least` must not exceed the capacity.
    pub(crate) fn from(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        if self.held(offset, least).is_none() {
            self.bytes.resize(self.up_to_end(offset, self.capacity), 0);
            self.start = offset;
            if !self.bytes.is_empty() {
                self.source.read_at(offset, &mut self.bytes)?;
            }
        }
        Ok(self.held(offset, least).unwrap_or_default())
    }

    /// Returns the bytes from `offset` on as `from` does, if they are already in memory.
    pub(crate) fn held(&self, offset: u64, least: usize) -> Option<&[u8]> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let held = self.bytes.get(skip..)?;
        (held.len() >= self.up_to_end(offset, least)).then_some(held)
    }

    /// Returns `len`, or the number of bytes from `offset` to the end of the trace if that is less.
    fn up_to_end(&self, offset: u64, len: usize) -> usize {
        let rest = self.source.size().saturating_sub(offset);
        usize::try_from(rest).map_or(len, |rest| rest.min(len))
    }
}
