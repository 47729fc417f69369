//! The command line.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::report::Report;
use crate::{Check, Order, Source, TraceFile};

/// Says whether trace files of ktrace(1) are whole.
///
/// A file is whole if it is one record after the other to its end, each of a known type and with
/// what its type asks for; no record is older than the one before it of its thread; CALL and RET
/// of each thread take turns and match; and no record is marked KTR_DROP. Where that is not so, it
/// says at which byte, and goes on at the next record. Trace points for system calls have to be on
/// both for CALL and for RET, as ktrace(1) has them.
///
/// Not asked for is the CALL of a thread's first RET, nor the RET of its last CALL, nor those where
/// tracing was switched off and on again.
#[derive(Debug, Parser)]
#[command(
    name = "ktrcheck",
    version,
    after_help = "Exit status: 0 if all files are whole, 1 if one is not, 2 if one cannot be read."
)]
struct Cli {
    /// Print nothing but errors.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Print all that is wrong, and not only the first of each sort.
    #[arg(short, long)]
    verbose: bool,
    /// Ask for order in time in the whole file, and not only within each thread.
    #[arg(short, long)]
    order: bool,
    /// Trace files of a 64-bit kernel.
    #[arg(value_name = "FILE", default_value = "ktrace.out")]
    files: Vec<PathBuf>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut status = 0;
    for path in &cli.files {
        match run(&cli, path) {
            Ok(true) => {}
            Ok(false) => status = status.max(1),
            // The reader of the output, such as head(1) or a pager, has closed it.
            Err(error) if is_broken_pipe(&error) => return ExitCode::from(2),
            Err(error) => {
                eprintln!("ktrcheck: {error:#}");
                status = 2;
            }
        }
    }
    ExitCode::from(status)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Checks a file, prints the findings, and returns whether the file is whole.
fn run(cli: &Cli, path: &Path) -> Result<bool> {
    let file = TraceFile::open(path).with_context(|| path.display().to_string())?;
    let out: Box<dyn Write> = if cli.quiet { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    let mut report = Report::new(out, path, cli.verbose);
    let order = if cli.order { Order::File } else { Order::Thread };
    let bar = bar(cli, path, file.size());
    let progress = |bytes| bar.set_position(bytes);

    let mut check = Check::new(&file, order, &progress);
    while let Some(finding) = check.next_finding().with_context(|| path.display().to_string())? {
        bar.suspend(|| report.finding(&finding)).context("standard output")?;
    }
    bar.finish_and_clear();
    let summary = check.finish();
    report.summary(&summary).context("standard output")?;
    Ok(summary.is_whole())
}

/// Creates a progress bar on standard error. indicatif shows it only on a terminal.
fn bar(cli: &Cli, path: &Path, size: u64) -> ProgressBar {
    if cli.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::new(size).with_style(style).with_message(path.display().to_string());
    // Clears the bar even if a read fails.
    bar.with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
