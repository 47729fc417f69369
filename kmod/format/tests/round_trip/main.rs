//! Round trips: encoded records are decoded to the same records, and other bytes are refused.

mod arbitrary;
mod bytes;
mod records;
