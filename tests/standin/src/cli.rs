//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::flaw::{self, Flaw, Other};
use crate::host::Config;
use crate::link::ModuleFile;
use crate::loads::{ALL, Load, World, demo};
use crate::{budget, console, heap};

/// The finished module in a stand-in for FreeBSD's kernel: no kernel is needed, and none is
/// touched.
#[derive(Debug, Parser)]
#[command(name = "ktrace-standin", version)]
struct Cli {
    /// The module.
    #[arg(long, global = true, value_name = "FILE", default_value = env!("KTRACE_RS_MODULE"))]
    module: PathBuf,
    /// The seed of all random numbers.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Run one thread at a time, selected by the seed.
    #[arg(long, global = true)]
    deterministic: bool,
    /// The number of CPUs.
    #[arg(long, global = true, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=32))]
    cpus: u64,
    /// Print the kernel's messages.
    #[arg(long, short, global = true)]
    verbose: bool,
    /// The functions of the kernel's own backend: a shared object of stock/kern_ktrace.c; default:
    /// one compiled with this program.
    #[arg(long, global = true, value_name = "FILE")]
    stock: Option<PathBuf>,
    /// The command that runs this program if it is for another machine.
    #[arg(long, global = true, value_name = "COMMAND", value_delimiter = ' ', allow_hyphen_values = true)]
    emulator: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace a small load, and print the trace in kdump's style, and the counters.
    Demo,
    /// Run one load.
    Run {
        /// Its name.
        load: String,
        /// The amount of work.
        #[arg(long, default_value_t = 1)]
        scale: usize,
        #[command(flatten)]
        fault: Fault,
    },
    /// List the loads.
    List,
    /// Run all loads, each in a process of its own, with real threads and with the seed's schedule.
    Check {
        /// Run only these loads.
        loads: Vec<String>,
    },
    /// Count the instructions that the module executes for a record, and compare them with a budget.
    Budget {
        /// The budget.
        file: PathBuf,
    },
    /// Run loads with random seeds for some seconds; print the command that replays a failure.
    Stress {
        /// The duration.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[command(flatten)]
        fault: Fault,
    },
}

/// The options that inject a fault.
#[derive(Debug, Args)]
struct Fault {
    /// A fault that the run must find.
    #[arg(long, value_name = "FLAW", value_enum)]
    flaw: Option<Other>,
    /// A call of a kernel function, NAME:NUMBER, that the module must skip.
    #[arg(long, value_name = "NAME:NUMBER", conflicts_with = "flaw")]
    omit: Option<String>,
}

impl Fault {
    fn put_in(&self) -> Result<()> {
        if let Some(other) = self.flaw {
            flaw::set(Flaw::Other(other));
        }
        if let Some(omit) = &self.omit {
            let (name, number) = omit.split_once(':').context("NAME:NUMBER")?;
            flaw::set(Flaw::Omit(name.to_owned(), number.parse().context("NUMBER")?));
        }
        Ok(())
    }

    /// Returns the options that inject the same fault.
    fn options(&self) -> Vec<String> {
        let flaw = self.flaw.and_then(|flaw| flaw.to_possible_value());
        let flaw = flaw.map(|flaw| ["--flaw".to_owned(), flaw.get_name().to_owned()]);
        let omit = self.omit.as_ref().map(|omit| ["--omit".to_owned(), omit.clone()]);
        flaw.into_iter().chain(omit).flatten().collect()
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    cli.deterministic |= matches!(cli.command, Command::Budget { .. });
    let out = &mut io::stdout().lock();
    let result = match &cli.command {
        Command::Demo => run_demo(&cli, out),
        Command::Run { load, scale, fault } => run_load(&cli, load, *scale, fault, out),
        Command::List => list(out),
        Command::Check { loads } => check(&cli, loads, out),
        Command::Budget { file } => run_budget(&cli, file, out),
        Command::Stress { seconds, fault } => stress(&cli, Duration::from_secs(*seconds), fault, out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ktrace-standin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn boot(cli: &Cli, scale: usize) -> Result<(World, tempfile::TempDir)> {
    // The other host threads would wait for one that has unwound.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let directory = tempfile::tempdir().context("a directory for files")?;
    let module = ModuleFile::read(&cli.module)?;
    let stock = cli.stock.as_deref().map(std::fs::read).transpose().context("the stock backend")?;
    let config = Config { cpus: cli.cpus as usize, deterministic: cli.deterministic, seed: cli.seed };
    crate::boot(config, stock.as_deref())?;
    if cli.verbose {
        console::loud();
    }
    Ok((World { module, directory: directory.path().to_owned(), scale: scale.max(1) }, directory))
}

fn run_demo(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let (world, _directory) = boot(cli, 1)?;
    writeln!(
        out,
        "This is no FreeBSD, but {} itself: linked into a process of this system, with a stand-in for the kernel.",
        cli.module.display()
    )?;
    demo::run(&world, out)
}

fn run_budget(cli: &Cli, file: &Path, out: &mut impl Write) -> Result<()> {
    let budget = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let (world, _directory) = boot(cli, 1)?;
    let text = budget::check(&world, &budget).with_context(|| file.display().to_string())?;
    writeln!(out, "budget: {text}")?;
    Ok(())
}

fn find(name: &str) -> Result<&'static Load> {
    ALL.iter().find(|load| load.name == name).with_context(|| format!("{name}: no such load; see list"))
}

fn run_load(cli: &Cli, name: &str, scale: usize, fault: &Fault, out: &mut impl Write) -> Result<()> {
    let load = find(name)?;
    fault.put_in()?;
    let (world, _directory) = boot(cli, scale)?;
    let text = (load.run)(&world).with_context(|| format!("{name}, seed {}", cli.seed))?;
    heap::expect_empty();
    writeln!(out, "{name}: {text}")?;
    Ok(())
}

fn list(out: &mut impl Write) -> Result<()> {
    for load in ALL {
        writeln!(out, "{:<12}{}", load.name, load.about)?;
    }
    Ok(())
}

/// Runs a load in a process of its own, with `options` and the common options of this run. Returns
/// whether it succeeded, its output, and its command line.
fn run_alone(cli: &Cli, load: &str, options: &[String]) -> Result<(bool, String, String)> {
    let module = cli.module.to_string_lossy();
    let cpus = cli.cpus.to_string();
    let mut words = vec!["run", load, "--module", &*module, "--cpus", &cpus];
    words.extend(options.iter().map(String::as_str));
    let this = std::env::current_exe().context("this program")?;
    let mut command = match cli.emulator.split_first() {
        Some((emulator, options)) => {
            let mut command = Process::new(emulator);
            command.args(options).arg(this);
            command
        }
        None => Process::new(this),
    };
    let output = command.args(&words).output().context("this program")?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text, words.join(" ")))
}

fn check(cli: &Cli, only: &[String], out: &mut impl Write) -> Result<()> {
    let mut failed = Vec::new();
    let loads = match only {
        [] => ALL.iter().collect(),
        only => only.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?,
    };
    for load in loads {
        for deterministic in [false, true] {
            let begun = Instant::now();
            let (good, text, words) = run_alone(cli, load.name, &schedule(cli.seed, deterministic))?;
            let how = if deterministic { "seeded" } else { "threads" };
            writeln!(out, "[{how} {:.1} s] {}", begun.elapsed().as_secs_f64(), text.trim_end())?;
            if !good {
                failed.push(words);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join("\n"));
    Ok(())
}

/// Returns the options for a seed and a kind of schedule.
fn schedule(seed: u64, deterministic: bool) -> Vec<String> {
    let mut options = vec!["--seed".to_owned(), seed.to_string()];
    if deterministic {
        options.push("--deterministic".to_owned());
    }
    options
}

fn stress(cli: &Cli, time: Duration, fault: &Fault, out: &mut impl Write) -> Result<()> {
    let begun = Instant::now();
    let mut rng = fastrand::Rng::new();
    let mut runs = 0;
    while begun.elapsed() < time {
        let load = &ALL[rng.usize(0..ALL.len())];
        let mut options = schedule(rng.u64(..), rng.u8(..4) != 0);
        options.extend(["--scale".to_owned(), rng.usize(1..=2).to_string()]);
        options.extend(fault.options());
        let (good, text, words) = run_alone(cli, load.name, &options)?;
        runs += 1;
        if !good {
            bail!("{text}\nagain with: sh scripts/standin.sh run -q -p ktrace-standin -- {words}");
        }
    }
    writeln!(out, "{runs} runs with random seeds: nothing is wrong")?;
    Ok(())
}
