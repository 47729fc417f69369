//! What is found in traces, and what is not.

mod calls;
mod damage;
mod memory;
mod order;
mod property;
mod trace;
