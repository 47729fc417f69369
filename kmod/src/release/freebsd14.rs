//! Code for FreeBSD 14.

use ktrace_format::Kind;

use crate::entry::entries;

/// `__FreeBSD_version` of the oldest supported kernel, 14.2. 14.0 calls `ktrcapfail()` with other
/// arguments.
pub(crate) const OLDEST: u32 = 1_402_000;

/// The record type with the largest number.
pub(crate) const LAST_KIND: Kind = Kind::StructArray;

/// Letters for trace points that only this release's ktrace(1) has.
pub(crate) static LETTERS: [(u8, u32); 0] = [];

// Functions of `kern_ktrace.c` that other releases lack.
entries! {}
