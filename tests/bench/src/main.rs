//! `ktrace-bench`: tables and a plot of what the VM runner has measured.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktrace_bench::main()
}
