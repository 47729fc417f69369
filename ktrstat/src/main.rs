//! `ktrstat`: shows what `ktrace_rs.ko` traces now, and how fast.

#![forbid(unsafe_code)]

mod cli;
mod list;
mod show;
mod snapshot;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
