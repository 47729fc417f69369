//! Release-specific code, one file for each release of FreeBSD, with its C half beside it. All
//! other source is shared.

#[cfg(not(feature = "freebsd-15"))]
mod freebsd14;
#[cfg(feature = "freebsd-15")]
mod freebsd15;

#[cfg(not(feature = "freebsd-15"))]
pub(crate) use freebsd14::{ENTRIES, LAST_KIND, LETTERS, OLDEST};
#[cfg(feature = "freebsd-15")]
pub(crate) use freebsd15::{ENTRIES, LAST_KIND, LETTERS, OLDEST};
