//! Turns what the VM runner has measured into tables and a plot.
//!
//! ```text
//! ktrace-bench benches OUT [DIRECTORY README]
//! ktrace-bench loads OUT TESTS [RESULTS README]
//! ```
//!
//! OUT is the runner's directory, and TESTS has the scripts of the guest tests. Both commands print
//! their tables. With further arguments, they also write them there: a directory or a file of their
//! own, and a file that shows a part of them between two marks.

#![forbid(unsafe_code)]

pub mod benches;
pub mod loads;
pub mod markdown;
pub mod plot;
pub mod run;
pub mod samples;
pub mod tables;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(Path::new).collect();
    let command = args.first().and_then(|command| command.to_str());
    let done = match (command, args.get(1..).unwrap_or_default()) {
        (Some("benches"), [out]) => benches::report(out, None),
        (Some("benches"), [out, dir, readme]) => benches::report(out, Some((dir, readme))),
        (Some("loads"), [out, tests]) => loads::report(out, tests, None),
        (Some("loads"), [out, tests, results, readme]) => loads::report(out, tests, Some((results, readme))),
        _ => {
            eprintln!("usage: ktrace-bench benches OUT [DIRECTORY README]");
            eprintln!("       ktrace-bench loads OUT TESTS [RESULTS README]");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ktrace-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
