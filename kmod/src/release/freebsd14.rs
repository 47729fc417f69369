//! FreeBSD 14.

use ktrace_format::Kind;

use crate::entry::entries;

/// `__FreeBSD_version` of the oldest kernel, 14.2: 14.0 calls `ktrcapfail()` with other arguments.
pub(crate) const OLDEST: u32 = 1_402_000;

/// The record type with the largest number.
pub(crate) const LAST_KIND: Kind = Kind::StructArray;

/// Letters that ktrace(1) has for trace points, and other releases have not.
pub(crate) static LETTERS: [(u8, u32); 0] = [];

// Functions of `kern_ktrace.c` that other releases have not.
entries! {}
