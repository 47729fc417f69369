//! Checks a finished kernel module for what a linker lets pass and a FreeBSD/amd64
//! kernel does not: see [`check()`] for the list.
//!
//! A [`Module`] is the ELF file as the checks see it, [`AllowList`] the names it
//! may leave undefined, [`Report`] what was found.

mod allow_list;
mod check;
mod function;
mod layout;
mod module;
mod registers;
mod relocations;
mod report;
mod sizes;
mod stack;
mod stack_flow;
mod stack_step;
mod symbols;
mod violation;

#[cfg(test)]
mod elf_builder;

pub use allow_list::{AllowList, Allowed};
pub use check::check;
pub use module::{Module, Relocation, Section, Symbol, SymbolPlace};
pub use report::Report;
pub use sizes::Sizes;
pub use stack::Frame;
pub use violation::{Place, Violation};
