//! What the releases of FreeBSD that the module is built for differ in: one file for each, with
//! its C half beside it. All else is the same source for all of them.

#[cfg(not(freebsd = "15"))]
mod freebsd14;
#[cfg(freebsd = "15")]
mod freebsd15;

#[cfg(not(freebsd = "15"))]
pub(crate) use freebsd14::{ENTRIES, LAST_KIND, LETTERS, OLDEST};
#[cfg(freebsd = "15")]
pub(crate) use freebsd15::{ENTRIES, LAST_KIND, LETTERS, OLDEST};
