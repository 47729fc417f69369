//! Checks a finished kernel module for what a linker lets pass and a FreeBSD kernel
//! on amd64 or arm64 does not: see [`check()`] for the list.
//!
//! A [`Module`] is the ELF file as the checks see it, [`AllowList`] the names it
//! may leave undefined, [`Report`] what was found.

mod allow_list;
mod arm64;
mod arm64_registers;
mod arm64_stack;
mod check;
mod function;
mod layout;
mod module;
mod parse;
mod registers;
mod relocations;
mod report;
mod shared;
mod shared_dynamic;
mod shared_relocations;
mod shared_segments;
mod sizes;
mod stack;
mod stack_flow;
mod stack_step;
mod symbols;
mod violation;

#[cfg(test)]
mod elf_builder;
#[cfg(test)]
mod shared_builder;

pub use allow_list::{AllowList, Allowed};
pub use check::check;
pub use module::{Dynamic, Module, Relocation, Section, Segment, Symbol, SymbolPlace};
pub use report::Report;
pub use sizes::Sizes;
pub use stack::Frame;
pub use violation::{Place, Violation};
