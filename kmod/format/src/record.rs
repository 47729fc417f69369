//! Whole records: a header and its payload.

use crate::{HEADER_LEN, Header, Kind, Payload};

/// Reason for which a record could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is shorter than [`Record::encoded_len`].
    NoRoom,
    /// A length or a count is larger than its field in the record.
    TooLarge,
}

/// Reason for which bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a record.
    Truncated,
    /// The header is not a valid one of `KTR_VERSION1`, or its type is unknown.
    Header,
    /// The payload does not match the type in the header.
    Payload(Kind),
}

/// A record of a trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The header. Its `len` and `kind` are those of the payload.
    pub header: Header,
    /// The payload.
    pub payload: Payload<'a>,
}

impl<'a> Record<'a> {
    /// Returns the length in bytes of a record with this payload. Saturates if no file could hold
    /// the record.
    pub fn encoded_len(payload: &Payload<'_>) -> usize {
        payload.len().saturating_add(HEADER_LEN)
    }

    /// Writes the record to the front of `out` and returns its length in bytes.
    ///
    /// The header's `len` and `kind` are taken from the payload.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let len = Record::encoded_len(&self.payload);
        let out = out.get_mut(..len).ok_or(EncodeError::NoRoom)?;
        let (head, body) = out.split_first_chunk_mut().ok_or(EncodeError::NoRoom)?;
        let len_field = u32::try_from(self.payload.len()).map_err(|_| EncodeError::TooLarge)?;
        let header = Header { len: len_field, kind: self.payload.kind(), ..self.header };
        header.encode(head).ok_or(EncodeError::TooLarge)?;
        self.payload.encode(body).ok_or(EncodeError::TooLarge)?;
        Ok(len)
    }

    /// Reads the record at the front of `bytes`. Also returns the bytes behind it.
    pub fn decode(bytes: &'a [u8]) -> Result<(Record<'a>, &'a [u8]), DecodeError> {
        let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let header = Header::decode(head).ok_or(DecodeError::Header)?;
        let len = usize::try_from(header.len).map_err(|_| DecodeError::Truncated)?;
        let (body, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        let payload = Payload::decode(header.kind, body).ok_or(DecodeError::Payload(header.kind))?;
        Ok((Record { header, payload }, rest))
    }
}

/// Writes a header over the first bytes of a record whose payload is already in place.
#[inline(always)]
pub fn encode_header(header: &Header, record: &mut [u8]) -> Result<(), EncodeError> {
    let head = record.first_chunk_mut().ok_or(EncodeError::NoRoom)?;
    header.encode(head).ok_or(EncodeError::TooLarge)
}

/// Splits the first record off `bytes` without reading its payload. Returns its header, all of its
/// bytes, and the bytes behind it. Returns `None` if `bytes` do not begin with a whole record.
pub fn split_record(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = Header::decode(bytes.first_chunk()?)?;
    let len = usize::try_from(header.len).ok()?.checked_add(HEADER_LEN)?;
    let (record, rest) = bytes.split_at_checked(len)?;
    Some((header, record, rest))
}

/// The records of a trace file, one after the other. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Creates an iterator over the records in a file's bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Records { rest: bytes }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let decoded = Record::decode(self.rest);
        self.rest = match decoded {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(decoded.map(|(record, _)| record))
    }
}
