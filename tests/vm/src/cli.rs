//! The command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use glob::Pattern;

use crate::figures::Files;
use crate::guest::Limits;
use crate::image::{self, Image};
use crate::payload::Payload;
use crate::suite::{Choice, Test};
use crate::{bench, check, exec, fetch, shell, suite};

/// Runs ktrace_rs in a FreeBSD virtual machine.
///
/// The image is any FreeBSD disk image (raw or qcow2) with a serial console and a root
/// login without password, as FreeBSD publishes them for CI. It is never changed.
/// Environment: KTRACE_VM_ACCEL=kvm leaves emulation for KVM; KTRACE_VM_QEMU names
/// another program than qemu-system-x86_64.
#[derive(Debug, Parser)]
#[command(name = "ktrace-vm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the guest tests; fails if one of them fails.
    Check {
        /// A disk image, several times for several; default: freebsd.img, and
        /// freebsd-debug.img if it exists, in ${XDG_CACHE_HOME:-~/.cache}/ktrace_rs.
        #[arg(long = "image", value_name = "PATH")]
        images: Vec<PathBuf>,
        /// Only tests whose name matches, several times for several.
        #[arg(long, value_name = "GLOB")]
        only: Vec<Pattern>,
        /// No tests whose name matches, several times for several.
        #[arg(long, value_name = "GLOB")]
        skip: Vec<Pattern>,
        /// Machines that run at a time.
        #[arg(long, value_name = "N", default_value_t = 1)]
        jobs: usize,
        /// With --full: the file that the table of the loads' figures goes to.
        #[arg(long, value_name = "FILE", requires = "readme")]
        results: Option<PathBuf>,
        /// With --full: a file that has the same table between two marks.
        #[arg(long, value_name = "FILE", requires = "results")]
        readme: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Run the benches, and write what they have measured.
    Bench {
        /// The disk image.
        #[arg(long, value_name = "PATH")]
        image: Option<PathBuf>,
        /// Only benches whose name matches, several times for several; then nothing is written.
        #[arg(long, value_name = "GLOB")]
        only: Vec<Pattern>,
        /// The directory that the tables, the samples and the plot go to.
        #[arg(long, value_name = "DIR", default_value = "tests/bench")]
        results: PathBuf,
        /// A file that shows the plot between two marks.
        #[arg(long, value_name = "FILE", default_value = "README.md")]
        readme: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Run one command in the guest, print what it says, and end with its status.
    Exec {
        /// The disk image.
        #[arg(long, value_name = "PATH")]
        image: Option<PathBuf>,
        /// Seconds that the command may take.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        timeout: u64,
        #[command(flatten)]
        common: Common,
        /// The command, for sh.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// An interactive console of the guest, with the module at hand.
    Shell {
        /// The disk image.
        #[arg(long, value_name = "PATH")]
        image: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Download the image that FreeBSD publishes for CI, check and unpack it.
    Fetch {
        /// The xz-compressed image; CHECKSUM.SHA512 must lie beside it.
        #[arg(long, default_value = fetch::IMAGE_URL)]
        url: String,
        /// Where it goes; default: where the other commands look for it.
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Download even where the image exists.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The module.
    #[arg(long, value_name = "PATH", default_value = "target/14-amd64/ktrace_rs.ko")]
    module: PathBuf,
    /// Hand no module in.
    #[arg(long, conflicts_with = "module")]
    no_module: bool,
    /// Trace with the stock backend: where a test would load the module, nothing happens.
    /// What a test wants of both backends, it shows here of the stock one.
    #[arg(long, conflicts_with = "module")]
    stock: bool,
    /// Run the tests at full length (make stress), and without --only no others than those that have
    /// another length in make check.
    #[arg(long)]
    full: bool,
    /// A tree to hand in, with tests/, bench/, bin/ and atf/.
    #[arg(long, value_name = "DIR", default_value = "target/14-amd64/guest")]
    files: PathBuf,
    /// Where logs and results go.
    #[arg(long, value_name = "DIR", default_value = "target/vm")]
    out: PathBuf,
    /// Multiplies every time limit, for slow machines.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    patience: u32,
    /// Seconds beyond a test's limit until the system counts as hung.
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    grace: u64,
}

impl Common {
    fn limits(&self) -> Limits {
        Limits { patience: self.patience, grace: Duration::from_secs(self.grace) }
    }

    fn payload(&self) -> Result<Payload> {
        let module = (!self.no_module && !self.stock).then(|| self.module.clone());
        if let Some(module) = module.as_deref().filter(|module| !module.is_file()) {
            bail!("no module at {}: build it (make), or say --no-module", module.display());
        }
        let files = Some(self.files.clone()).filter(|files| files.is_dir());
        Ok(Payload { module, files, stock: self.stock, full: self.full, scripts: Vec::new() })
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ktrace-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Check { images, only, skip, jobs, results, readme, common } => {
            let images = if images.is_empty() { image::defaults()? } else { images };
            if images.is_empty() {
                println!("VM tests skipped: no image at {}; {HOW}", image::default_path()?.display());
                return Ok(ExitCode::SUCCESS);
            }
            let passed = check::run(
                &check::Options {
                    images: images.iter().map(|path| Image::probe(path)).collect::<Result<_>>()?,
                    payload: common.payload()?,
                    tests: suite::find(
                        &common.files.join("tests"),
                        Choice { only: &only, skip: &skip, full: common.full },
                    )?,
                    jobs,
                    limits: common.limits(),
                    loads: loads(&common)?,
                    bench: None,
                    table: results.zip(readme).map(|(results, readme)| Files { results, readme }),
                    out: common.out,
                },
                io::stdout(),
            )?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Bench { image, only, results, readme, common } => {
            let passed = check::run(
                &check::Options {
                    images: vec![one_image(image.as_deref())?],
                    payload: common.payload()?,
                    tests: suite::find(
                        &common.files.join("bench"),
                        Choice { only: &only, ..Choice::default() },
                    )?,
                    jobs: 1,
                    limits: common.limits(),
                    loads: Vec::new(),
                    table: None,
                    bench: only.is_empty().then_some(bench::Files { dir: results, readme }),
                    out: common.out,
                },
                io::stdout(),
            )?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Exec { image, timeout, common, command } => {
            let limit = Duration::from_secs(timeout);
            let image = one_image(image.as_deref())?;
            let command = command.join(" ");
            exec::run(&image, &common.payload()?, command, limit, common.limits(), &common.out)
                .map(ExitCode::from)
        }
        Command::Shell { image, common } => {
            let image = one_image(image.as_deref())?;
            let passed = shell::run(&image, &common.payload()?, common.limits(), &common.out)?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Fetch { url, to, force } => {
            let to = to.map_or_else(image::default_path, Ok)?;
            if to.exists() && !force {
                println!("{} exists already", to.display());
            } else {
                fetch::run(&url, &to)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The tests that leave figures, if there are to be some.
fn loads(common: &Common) -> Result<Vec<Test>> {
    if !common.full {
        return Ok(Vec::new());
    }
    let tests = suite::find(&common.files.join("tests"), Choice { full: true, ..Choice::default() })?;
    Ok(tests.into_iter().filter(|test| test.load.is_some()).collect())
}

const HOW: &str = "get one with `make vm-image`, or name one with --image";

fn one_image(path: Option<&Path>) -> Result<Image> {
    match path {
        Some(path) => Image::probe(path),
        None => {
            let path = image::default_path()?;
            if !path.is_file() {
                bail!("no image at {}; {HOW}", path.display());
            }
            Image::probe(&path)
        }
    }
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
