//! The command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use glob::Pattern;

use crate::guest::Limits;
use crate::image::{self, Arch, Image};
use crate::may_skip::MaySkip;
use crate::payload::{self, Backend, Payload};
use crate::suite::Choice;
use crate::{check, exec, fetch, plan, shell, suite};

/// Runs ktrace_rs in a FreeBSD virtual machine.
///
/// The image is any FreeBSD disk image (raw or qcow2) with a serial console and a root
/// login without password, as FreeBSD publishes them for CI. It is never changed.
/// Environment: KTRACE_VM_ACCEL is kvm or tcg, for KVM or emulation; by default KVM runs
/// amd64 machines where it works. KTRACE_VM_QEMU_AMD64 and KTRACE_VM_QEMU_ARM64 name other
/// programs than qemu-system-x86_64 and qemu-system-aarch64; KTRACE_VM_FIRMWARE names the
/// EFI firmware of the latter.
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
        /// A disk image, several times for several; default: those that exist of 15-amd64.img,
        /// 14-amd64.img, 15-arm64.img, and the same with -debug, in
        /// ${XDG_CACHE_HOME:-~/.cache}/ktrace_rs. Then the first of these releases that has an
        /// image gets all tests, the others get the core. A plain image and the one with -debug
        /// share them by what each kernel can find.
        #[arg(long = "image", value_name = "PATH")]
        images: Vec<PathBuf>,
        /// Run all tests on all images.
        #[arg(long)]
        all: bool,
        /// Only tests whose name matches, several times for several.
        #[arg(long, value_name = "GLOB")]
        only: Vec<Pattern>,
        /// No tests whose name matches, several times for several.
        #[arg(long, value_name = "GLOB")]
        skip: Vec<Pattern>,
        /// Machines that run at a time.
        #[arg(long, value_name = "N", default_value_t = 1)]
        jobs: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Run the benches, which leave samples.
    Bench {
        /// The disk image.
        #[arg(long, value_name = "PATH")]
        image: Option<PathBuf>,
        /// Only benches whose name matches, several times for several.
        #[arg(long, value_name = "GLOB")]
        only: Vec<Pattern>,
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
        /// The major release.
        #[arg(long, value_name = "N", default_value_t = 15)]
        release: u32,
        /// The xz-compressed image; CHECKSUM.SHA512 must lie beside it.
        #[arg(long, conflicts_with = "release")]
        url: Option<String>,
        /// Where it goes; default: where the other commands look for an image of its release and
        /// machine, which its name says.
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Download even where the image exists.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Hand no module in.
    #[arg(long, conflicts_with = "stock")]
    no_module: bool,
    /// Trace with the stock backend: where a test would load the module, nothing happens.
    /// What a test wants of both backends, it shows here of the stock one.
    #[arg(long)]
    stock: bool,
    /// Run the tests at full length (make stress), and without --only no others than those that
    /// have another length in make check.
    #[arg(long)]
    full: bool,
    /// The directory with what is built for each release and machine: 15-amd64/ktrace_rs.ko,
    /// 15-amd64/invariants/ktrace_rs.ko, and 15-amd64/guest/, a tree with tests/, bench/, bin/ and
    /// atf/.
    #[arg(long, value_name = "DIR", default_value = "target")]
    targets: PathBuf,
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

    fn payload(&self) -> Payload {
        let backend = match (self.stock, self.no_module) {
            (true, _) => Backend::Stock,
            (_, true) => Backend::None,
            _ => Backend::Module,
        };
        Payload { targets: self.targets.clone(), backend, full: self.full, scripts: Vec::new() }
    }

    fn wants_module(&self) -> bool {
        !self.stock && !self.no_module
    }

    /// Fails if no module that a guest could load has been built.
    fn has_module(&self, images: &[Image]) -> Result<()> {
        let built = |target: &String| {
            payload::MODULES.iter().any(|name| self.targets.join(target).join(name).is_file())
        };
        for image in images {
            if self.wants_module() && !payload::targets(image.arch).any(|target| built(&target)) {
                let module = self.targets.join(format!("15-{}", image.arch)).join(payload::MODULES[0]);
                bail!("no module at {}: build it (make), or say --no-module", module.display());
            }
        }
        Ok(())
    }

    /// Returns the named images that have a module, and prints a line with the names of the others.
    fn usable(&self, images: Vec<Image>) -> Result<Vec<Image>> {
        let dir = image::dir()?;
        let missing: Vec<_> = image::NAMES
            .into_iter()
            .filter(|name| images.iter().all(|image| image.stem() != *name))
            .collect();
        if !missing.is_empty() {
            println!("no image in {} for: {}", dir.display(), missing.join(", "));
        }
        let target = |image: &Image| self.targets.join(image.stem().trim_end_matches("-debug"));
        let (usable, other): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| {
            !self.wants_module()
                || target(image)
                    .join(payload::MODULES[usize::from(image.stem().ends_with("-debug"))])
                    .is_file()
        });
        if !other.is_empty() {
            let names: Vec<_> = other.iter().map(Image::stem).collect();
            println!("no module in {} for: {}", self.targets.display(), names.join(", "));
        }
        Ok(usable)
    }

    /// Returns the path of a file or directory of the guest trees, which is the same in all of them.
    fn guest(&self, name: &str) -> Result<PathBuf> {
        let trees = [Arch::Amd64, Arch::Arm64].into_iter().flat_map(payload::targets);
        let mut paths = trees.map(|target| self.targets.join(target).join("guest").join(name));
        let found = paths.find(|path| path.exists());
        found.with_context(|| format!("no {name} in {}: make guest", self.targets.display()))
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
        Command::Check { images, all, only, skip, jobs, common } => {
            let named = images.is_empty();
            let images = if named {
                image::found()?
            } else {
                images.iter().map(|path| Image::probe(path)).collect::<Result<_>>()?
            };
            if images.is_empty() {
                println!("VM tests skipped: no image in {}; {HOW}", image::dir()?.display());
                return Ok(ExitCode::from(SKIPPED));
            }
            common.has_module(&images)?;
            let images = if named { common.usable(images)? } else { images };
            let choice = Choice { only: &only, skip: &skip, full: common.full };
            let tests = suite::find(&common.guest("tests")?, choice)?;
            let runs = if named {
                plan::of_named(images, &tests, common.full, all)
            } else {
                plan::of_any(images, &tests)
            };
            let passed = check::run(
                &check::Options {
                    runs,
                    payload: common.payload(),
                    may_skip: MaySkip::read(&common.guest("tests/may_skip.txt")?)?,
                    jobs,
                    limits: common.limits(),
                    out: common.out,
                },
                io::stdout(),
            )?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Bench { image, only, common } => {
            let image = one_image(image.as_deref())?;
            if image.arch != Arch::Amd64 {
                bail!("{}: benches are for amd64", image.path.display());
            }
            let images = vec![image];
            common.has_module(&images)?;
            let choice = Choice { only: &only, ..Choice::default() };
            let tests = suite::find(&common.guest("bench")?, choice)?;
            let passed = check::run(
                &check::Options {
                    runs: plan::of_any(images, &tests),
                    payload: common.payload(),
                    may_skip: MaySkip::default(),
                    jobs: 1,
                    limits: common.limits(),
                    out: common.out,
                },
                io::stdout(),
            )?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Exec { image, timeout, common, command } => {
            let limit = Duration::from_secs(timeout);
            let image = one_image(image.as_deref())?;
            common.has_module(slice::from_ref(&image))?;
            let command = command.join(" ");
            exec::run(&image, &common.payload(), command, limit, common.limits(), &common.out)
                .map(ExitCode::from)
        }
        Command::Shell { image, common } => {
            let image = one_image(image.as_deref())?;
            common.has_module(slice::from_ref(&image))?;
            let passed = shell::run(&image, &common.payload(), common.limits(), &common.out)?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Fetch { release, url, to, force } => {
            let url = url.map_or_else(|| fetch::url_of(release), Ok)?;
            let to = match to {
                Some(to) => to,
                None => image::path(&fetch::name_of(&url)?)?,
            };
            if to.exists() && !force {
                println!("{} exists already", to.display());
            } else {
                fetch::run(&url, &to)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Exit status if there is no image to run tests on.
const SKIPPED: u8 = 77;

const HOW: &str = "get one with `make vm-image`, or name one with --image";

fn one_image(path: Option<&Path>) -> Result<Image> {
    match path {
        Some(path) => Image::probe(path),
        None => match image::found()?.into_iter().next() {
            Some(image) => Ok(image),
            None => bail!("no image in {}; {HOW}", image::dir()?.display()),
        },
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
