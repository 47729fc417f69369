//! Whole records: a header and the payload that it announces.

use crate::{HEADER_LEN, Header, Kind, Payload};

/// Why a record could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The buffer is shorter than [`Record::encoded_len`].
    NoRoom,
    /// A length or a count is larger than its field in the record.
    TooLarge,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a record.
    Truncated,
    /// The header is not one of `KTR_VERSION1`, or of an unknown type.
    Header,
    /// The payload is not of the type that the header says.
    Payload(Kind),
}

/// A record as it stands in a trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What stands before the payload; its `len` and `kind` are the payload's.
    pub header: Header,
    /// The payload.
    pub payload: Payload<'a>,
}

impl<'a> Record<'a> {
    /// Length of a record with this payload in bytes. Saturates where no file could hold it.
    pub fn encoded_len(payload: &Payload<'_>) -> usize {
        payload.len().saturating_add(HEADER_LEN)
    }

    /// Writes the record to the front of `out` and returns how many bytes it took.
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

    /// Reads the record at the front of `bytes`, and returns what is behind it.
    pub fn decode(bytes: &'a [u8]) -> Result<(Record<'a>, &'a [u8]), DecodeError> {
        let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let header = Header::decode(head).ok_or(DecodeError::Header)?;
        let len = usize::try_from(header.len).map_err(|_| DecodeError::Truncated)?;
        let (body, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        let payload = Payload::decode(header.kind, body).ok_or(DecodeError::Payload(header.kind))?;
        Ok((Record { header, payload }, rest))
    }
}

/// Writes only a header over the first bytes of a record whose payload stands already.
#[inline(always)]
pub fn encode_header(header: &Header, record: &mut [u8]) -> Result<(), EncodeError> {
    let head = record.first_chunk_mut().ok_or(EncodeError::NoRoom)?;
    header.encode(head).ok_or(EncodeError::TooLarge)
}

/// Takes the first record off `bytes` without looking into its payload: its header, all of its
/// bytes, and what is behind it. `None` if `bytes` do not begin with a whole record.
pub fn split_record(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = Header::decode(bytes.first_chunk()?)?;
    let len = usize::try_from(header.len).ok()?.checked_add(HEADER_LEN)?;
    let (record, rest) = bytes.split_at_checked(len)?;
    Some((header, record, rest))
}

/// The records of a trace file, one after the other; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Reads from the start of a file's bytes.
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
