//! Cursors that write values to bytes and read them back, and never pass the end.

/// A cursor that puts values one after the other into a buffer.
pub(crate) struct Put<'a> {
    rest: &'a mut [u8],
}

impl<'a> Put<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Put { rest: out }
    }

    /// Puts `bytes`. Returns `None` if they do not fit.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let (out, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())?;
        out.copy_from_slice(bytes);
        self.rest = rest;
        Some(())
    }

    /// Puts `bytes` into a field of `field` bytes. Cuts them so that at least `reserve` bytes
    /// remain, and zeroes the rest of the field.
    pub(crate) fn field(&mut self, bytes: &[u8], field: usize, reserve: usize) -> Option<()> {
        let (out, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(field)?;
        let used = bytes.len().min(field.saturating_sub(reserve));
        let (head, tail) = out.split_at_mut_checked(used)?;
        head.copy_from_slice(bytes.get(..used)?);
        tail.fill(0);
        self.rest = rest;
        Some(())
    }

    /// Puts `len` zero bytes.
    pub(crate) fn zeros(&mut self, len: usize) -> Option<()> {
        self.field(&[], len, 0)
    }

    pub(crate) fn i16(&mut self, value: i16) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn i32(&mut self, value: i32) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_ne_bytes())
    }
}

/// A cursor that takes values one after the other out of a buffer.
pub(crate) struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Take { rest: bytes }
    }

    /// Takes `len` bytes. Returns `None` if there are fewer.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Takes a string and the NUL that ends it.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.iter().position(|byte| *byte == 0)?;
        let string = self.bytes(len)?;
        self.bytes(1)?;
        Some(string)
    }

    /// Takes all remaining bytes.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_ne_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    /// Returns whether no bytes remain.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
