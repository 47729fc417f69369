//! `ktrace-sim`: the engine of ktrace_rs in a host simulation.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktrace_sim::cli::main()
}
