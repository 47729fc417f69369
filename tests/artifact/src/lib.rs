//! Checks a finished kernel module for faults that a linker accepts and a FreeBSD kernel on amd64
//! or arm64 does not. [`check()`] has the list.
//!
//! [`Module`] is the ELF file as the checks see it. [`AllowList`] has the names that it may leave
//! undefined. [`Report`] is the result.

mod allow_list;
mod amd64;
mod arm64;
mod check;
mod function;
mod layout;
mod module;
mod parse;
mod relocations;
mod report;
mod shared;
mod sizes;
mod stack;
mod symbols;
mod violation;

pub use allow_list::{AllowList, Allowed};
pub use check::check;
pub use module::{Dynamic, Module, Relocation, Section, Segment, Symbol, SymbolPlace};
pub use report::Report;
pub use sizes::Sizes;
pub use stack::Frame;
pub use violation::{Place, Violation};
