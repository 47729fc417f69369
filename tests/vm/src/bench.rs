//! Output of `make bench`: the samples, and tables and a plot of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine::Clock;
use crate::marker::System;
use crate::samples::{Measured, Samples};
use crate::suite::Test;
use crate::{figures, plot, tables};

/// Places that the output is written to.
#[derive(Debug, Clone)]
pub struct Files {
    /// Directory for `results.csv`, `RESULTS.md` and `plot.svg`.
    pub dir: PathBuf,
    /// File with [`BEGIN`] and [`END`] on lines of their own, between which the plot is shown.
    pub readme: PathBuf,
}

/// Mark before the plot in a file with other text.
pub const BEGIN: &str = "<!-- bench -->";
/// Mark after the plot.
pub const END: &str = "<!-- /bench -->";

/// Sample lines from benches, for each clock.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    time: String,
    instructions: String,
}

impl Lines {
    /// Adds the lines that `benches` have left in the results directory `dir`.
    pub fn take(&mut self, clock: Clock, benches: &[Test], dir: &Path) -> Result<()> {
        let text = match clock {
            Clock::Time => &mut self.time,
            Clock::Instructions => &mut self.instructions,
        };
        for bench in benches {
            let path = dir.join(&bench.name).join("samples.csv");
            if path.is_file() {
                text.push_str(&fs::read_to_string(&path).with_context(|| path.display().to_string())?);
            }
        }
        Ok(())
    }

    /// Parses the lines, or returns `None` if there are none.
    pub fn measured(&self) -> Result<Option<Measured>> {
        let measured =
            Measured { time: Samples::parse(&self.time)?, instructions: Samples::parse(&self.instructions)? };
        Ok((!measured.time.is_empty() || !measured.instructions.is_empty()).then_some(measured))
    }

    fn csv(&self) -> String {
        let mut text = String::from("clock,load,n,backend,policy,sample,count,ns\n");
        for (clock, lines) in [("time", &self.time), ("instructions", &self.instructions)] {
            text.extend(lines.lines().map(|line| format!("{clock},{line}\n")));
        }
        text
    }
}

/// Writes all output files.
pub fn write(files: &Files, system: &System, lines: &Lines, measured: &Measured) -> Result<()> {
    let readme = fs::read_to_string(&files.readme)
        .with_context(|| format!("cannot read {}", files.readme.display()))?;
    let readme = figures::replace(&readme, BEGIN, END, &shown(&files.dir))
        .with_context(|| format!("cannot use {}", files.readme.display()))?;
    fs::create_dir_all(&files.dir)?;
    for (path, text) in [
        (files.dir.join("results.csv"), lines.csv()),
        (files.dir.join("RESULTS.md"), tables::document(system, measured)),
        (files.dir.join("plot.svg"), plot::svg(&measured.time)?),
        (files.readme.clone(), readme),
    ] {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns the text between the marks in README.
fn shown(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "![throughput, cost of a record, latency]({dir}/plot.svg)\n\
         \n\
         `make bench` measures this, stock and module in turns in one run; `{dir}/RESULTS.md` has the numbers.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(name: &str) -> Test {
        Test { name: name.into(), ..Test::default() }
    }

    #[test]
    fn lines_of_all_benches_come_together() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("samples.csv"), format!("{name}\n")).unwrap();
        }
        let mut lines = Lines::default();
        assert!(lines.measured().unwrap().is_none());
        lines.take(Clock::Time, &[bench("a"), bench("b"), bench("c")], dir.path()).unwrap();
        lines.take(Clock::Instructions, &[bench("b")], dir.path()).unwrap();
        let csv = lines.csv();
        assert_eq!(csv.lines().skip(1).collect::<Vec<_>>(), ["time,a", "time,b", "instructions,b"]);
        assert!(lines.measured().is_err(), "these are no samples");
    }

    #[test]
    fn everything_is_written_and_the_readme_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { dir: dir.path().join("bench"), readme: dir.path().join("README.md") };
        let system = System {
            release: "14.2".into(),
            machine: "amd64".into(),
            ident: "GENERIC".into(),
            witness: false,
        };
        let lines = Lines { time: "getppid-tmpfs,1,stock,-,1,1000,4000000\n".into(), ..Lines::default() };
        let measured = lines.measured().unwrap().unwrap();
        fs::write(&files.readme, "no marks\n").unwrap();
        assert!(write(&files, &system, &lines, &measured).is_err());
        assert!(!files.dir.exists(), "nothing is written by halves");
        fs::write(&files.readme, format!("a\n{BEGIN}\n{END}\nz\n")).unwrap();
        write(&files, &system, &lines, &measured).unwrap();
        let readme = fs::read_to_string(&files.readme).unwrap();
        assert!(readme.contains("/plot.svg)\n") && readme.ends_with("-->\nz\n"), "{readme}");
        assert_eq!(
            fs::read_to_string(files.dir.join("results.csv")).unwrap(),
            "clock,load,n,backend,policy,sample,count,ns\ntime,getppid-tmpfs,1,stock,-,1,1000,4000000\n"
        );
        assert!(fs::read_to_string(files.dir.join("plot.svg")).unwrap().starts_with("<svg"));
    }
}
