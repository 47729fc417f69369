//! `ktrace-standin`: runs the finished module in a stand-in for the kernel.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktrace_standin::cli::main()
}
