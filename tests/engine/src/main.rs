//! What the engine does. Each test is one thread as a rule, and compares the engine with what is
//! expected, or with a model ([`expected`]).

mod budget;
mod checks;
mod expected;
mod failures;
mod help;
mod host;
mod interrupted;
mod model;
mod progress;
mod queue;
mod stream;
mod threads;
mod trace_file;
mod traced;
