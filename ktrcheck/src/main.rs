//! `ktrcheck`: checks whether trace files are whole.

use std::process::ExitCode;

fn main() -> ExitCode {
    ktrcheck::cli::main()
}
