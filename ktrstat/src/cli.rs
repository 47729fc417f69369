//! The command line.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::show;
use crate::snapshot::Snapshot;

/// Shows what ktrace_rs traces now, and how fast.
///
/// Processes and files are those that ps(1) would show to the caller.
#[derive(Debug, Parser)]
#[command(
    name = "ktrstat",
    version,
    after_help = "Exit status: 0 if no record was dropped since the module was loaded, 1 if one was, 2 if it cannot be \
                  told. Where the statistics are refused, the records are those of the processes that are shown."
)]
struct Cli {
    /// Show it once, without rates.
    #[arg(short = '1')]
    once: bool,
    /// Show it once, as JSON.
    #[arg(short)]
    json: bool,
    /// Seconds between two looks.
    #[arg(short = 's', value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    interval: f64,
    /// Looks, and then no more.
    #[arg(short = 'd', value_name = "COUNT")]
    displays: Option<u64>,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            // The reader of the output, such as head(1) or a pager, has closed it.
            let quiet =
                error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
            if !quiet {
                eprintln!("ktrstat: {error:#}");
            }
            ExitCode::from(2)
        }
    }
}

/// Runs the program and returns the number of dropped records.
fn run(cli: &Cli) -> Result<u64> {
    let mut out = io::stdout();
    let mut before = Snapshot::take()?;
    if cli.json {
        out.write_all(show::json(&before)?.as_bytes())?;
        return Ok(before.dropped());
    }
    if cli.once {
        out.write_all(show::table(&before, None, usize::MAX).as_bytes())?;
        return Ok(before.dropped());
    }
    let is_terminal = out.is_terminal();
    let mut displays = 0;
    while cli.displays.is_none_or(|most| displays < most) {
        thread::sleep(Duration::from_secs_f64(cli.interval));
        let now = Snapshot::take()?;
        let rates = now.rates_since(&before);
        if is_terminal {
            // Move the cursor home, and clear the screen below it.
            out.write_all(b"\x1b[H\x1b[J")?;
        }
        let rows = if is_terminal { rows() } else { usize::MAX };
        out.write_all(show::table(&now, rates, rows).as_bytes())?;
        out.flush()?;
        before = now;
        displays += 1;
    }
    Ok(before.dropped())
}

/// Returns the number of lines that fit on the terminal.
fn rows() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row)).max(4) - 1
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.1..=86400.0).contains(&seconds).then_some(seconds).ok_or_else(|| "from 0.1 to 86400".to_owned())
}
