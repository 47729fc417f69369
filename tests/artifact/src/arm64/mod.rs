//! Code for arm64.

mod instruction;
mod registers;
mod stack;

pub(crate) use instruction::Arm64;
