//! The command line.

use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{demo, kdump};

/// The engine of ktrace_rs in a host simulation: no kernel is needed, and none is touched.
#[derive(Debug, Parser)]
#[command(name = "ktrace-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace a small simulated load, print the trace file in kdump's style, and the counters.
    Demo {
        /// The trace file to write.
        #[arg(long, value_name = "FILE", default_value = "ktrace.out")]
        output: PathBuf,
    },
    /// Print a trace file in kdump's style, one line a record.
    Dump {
        /// A trace file of a 64-bit kernel.
        file: PathBuf,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let out = &mut BufWriter::new(io::stdout().lock());
    let result = match Cli::parse().command {
        Command::Demo { output } => run_demo(&output, out),
        Command::Dump { file } => dump(&file, out),
    };
    let result = result.and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe: head(1), a pager.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Output printed so far goes first.
            let _ = out.flush();
            eprintln!("ktrace-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn run_demo(output: &Path, out: &mut impl Write) -> Result<()> {
    let shown = output.display();
    writeln!(
        out,
        "This is the host simulation, not a kernel: the module's own engine, with threads as processes."
    )?;
    let (bytes, system) = demo::run();
    fs::write(output, bytes).with_context(|| shown.to_string())?;
    writeln!(out, "\n{shown}, a trace file as kdump(1) reads it, decoded:\n")?;
    dump(output, out)?;
    writeln!(out, "\nthe counters, as sysctl kern.ktrace_rs.stats has them:\n")?;
    demo::print_counters(&system, out)?;
    Ok(())
}

fn dump(path: &Path, out: &mut impl Write) -> Result<()> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    kdump::print(&bytes, out)?.with_context(|| path.display().to_string())
}
