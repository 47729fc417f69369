//! Code for amd64.

mod instruction;
mod registers;
mod stack;

pub(crate) use instruction::Amd64;
