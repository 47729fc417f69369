//! Whatever is encoded is decoded to the same, and bytes that are not a record are refused.

mod arbitrary;
mod bytes;
mod records;
