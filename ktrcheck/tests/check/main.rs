//! Tests of the findings in whole and damaged traces.

mod calls;
mod damage;
mod manual;
mod memory;
mod order;
mod property;
mod trace;
