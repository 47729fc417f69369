//! The engine in the host simulation.

mod allocator;
mod budget;
mod checks;
mod expected;
mod failures;
mod help;
mod interleavings;
mod interrupted;
mod load;
mod model;
mod processes;
mod progress;
mod queue;
mod stream;
mod trace_file;
mod traced;
