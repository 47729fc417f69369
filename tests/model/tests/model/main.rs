//! The engine in every schedule, or in many.

mod allocator;
mod exhaustive;
mod flaws;
mod random;
