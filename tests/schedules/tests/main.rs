//! The engine in every schedule, or in many.

mod exhaustive;
mod flaws;
mod random;
