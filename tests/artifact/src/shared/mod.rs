//! The form of a shared object, which is what the kernel of arm64 loads.

mod dynamic;
mod form;
mod relocations;
mod segments;

pub(crate) use form::check;
