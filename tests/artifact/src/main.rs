//! The command line: `ktrace-artifact check --allow symbols.txt ktrace_rs.ko`.
//!
//! Violations go to standard error, one per line. Sizes and the largest frames go to standard
//! output. Exit status: 0 clean, 1 violations, 2 not checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use ktrace_artifact::{AllowList, Module, check};

/// Checks finished kernel modules.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a kernel module that is ready to be loaded.
    Check {
        /// The names that the module may leave undefined, one a line, sorted.
        #[arg(long, value_name = "FILE")]
        allow: PathBuf,
        /// The largest stack frame, in bytes: saved registers and locals, without what a call
        /// pushes.
        #[arg(long, value_name = "BYTES", default_value_t = 1024)]
        max_frame: u64,
        /// The module.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Check { allow, max_frame, file } = Arguments::parse().command;
    match run(&allow, max_frame, &file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ktrace-artifact: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Checks `file`. Returns whether it is clean.
fn run(allow: &Path, max_frame: u64, file: &Path) -> Result<bool> {
    let names = fs::read_to_string(allow).with_context(|| allow.display().to_string())?;
    let names = AllowList::parse(&names);
    let data = fs::read(file).with_context(|| file.display().to_string())?;
    let module = Module::parse(&data).with_context(|| file.display().to_string())?;

    let report = check(&module, &names, max_frame);
    for violation in &report.violations {
        eprintln!("{}", violation.line(file, allow));
    }
    print!("{}", report.summary(file));
    Ok(report.violations.is_empty())
}
