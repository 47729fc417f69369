//! What is found in traces, and what is not.

mod calls;
mod damage;
mod manual;
mod memory;
mod order;
mod property;
mod trace;
