//! Figures that the loads have measured at full length, and their table.
//!
//! A guest test whose header has `# load: WHAT` leaves a file `figures` with one line,
//! `made,stock,module,memory,processes`. These are the records that the load's program has made,
//! the records found with the stock backend and with the module, the module's peak memory in bytes,
//! and the number of processes traced at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::machine::{self, Clock};
use crate::marker::System;
use crate::suite::Test;

/// Figures of one load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Description of the load.
    pub load: String,
    made: u64,
    stock: u64,
    module: u64,
    memory: u64,
    processes: u64,
}

/// Files that the table is written to.
#[derive(Debug, Clone)]
pub struct Files {
    /// File that holds only the table and is rewritten.
    pub results: PathBuf,
    /// File with [`BEGIN`] and [`END`] on lines of their own, between which the text is replaced.
    pub readme: PathBuf,
}

/// Mark before the table in a file with other text.
pub const BEGIN: &str = "<!-- results -->";
/// Mark after the table.
pub const END: &str = "<!-- /results -->";

/// Reads the figures of `test` in the results directory `dir`, if it is a load and has left some.
pub fn take(test: &Test, dir: &Path) -> Result<Option<Figures>> {
    let path = dir.join(&test.name).join("figures");
    match &test.load {
        Some(load) if path.is_file() => {
            let text = fs::read_to_string(&path)?;
            parse(load, &text).with_context(|| path.display().to_string()).map(Some)
        }
        _ => Ok(None),
    }
}

fn parse(load: &str, line: &str) -> Result<Figures> {
    let numbers: Vec<u64> =
        line.trim().split(',').map(str::parse).collect::<Result<_, _>>().context("not numbers")?;
    let [made, stock, module, memory, processes] = numbers[..] else { bail!("not five numbers") };
    if processes == 0 {
        bail!("no processes");
    }
    Ok(Figures { load: load.into(), made, stock, module, memory, processes })
}

/// Formats the table in Markdown.
pub fn table(all: &[Figures]) -> String {
    let mut text = String::from(
        "| load | records made | found, stock | found, ktrace_rs | memory at most | per process |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for figures in all {
        let Figures { load, made, stock, module, memory, processes } = figures;
        let numbers = [made, stock, module].map(|number| grouped(*number)).join(" | ");
        let memory = [*memory, memory / processes].map(|bytes| grouped(bytes.div_ceil(1024)) + " KiB");
        text.push_str(&format!("| {load} | {numbers} | {} |\n", memory.join(" | ")));
    }
    text
}

/// Writes the table to both files.
pub fn write(files: &Files, system: &System, all: &[Figures]) -> Result<()> {
    let table = table(all);
    let readme = fs::read_to_string(&files.readme)
        .with_context(|| format!("cannot read {}", files.readme.display()))?;
    let readme = replace(&readme, BEGIN, END, &table)
        .with_context(|| format!("cannot use {}", files.readme.display()))?;
    for (path, text) in [(&files.results, results(system, &table)), (&files.readme, readme)] {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn results(system: &System, table: &str) -> String {
    format!(
        "# Results\n\
         \n\
         Written by `make stress`, not by hand.\n\
         \n\
         FreeBSD {} {} {}, QEMU with `{}`, trace files on UFS. Both backends in one run.\n\
         \n\
         {table}\n\
         Records made: those whose number the load's program knows, by process or thread and by type;\n\
         all others are checked for order only. Memory: `vmstat -m` of the module at its highest, and\n\
         that divided by the processes traced at once.\n",
        system.release,
        system.machine,
        system.ident,
        machine::hardware(system.arch(), Clock::Time).join(" "),
    )
}

/// Returns `text` with `new` between the two marks.
pub fn replace(text: &str, begin: &str, end: &str, new: &str) -> Result<String> {
    let (before, rest) = text.split_once(begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no {end} behind {begin}"))?;
    Ok(format!("{before}{begin}\n{new}{end}{after}"))
}

/// Formats 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_a_table() {
        let all = [parse("a", "1234567,99,1234567,2048,2\n").unwrap(), parse("b", "0,0,0,1,3").unwrap()];
        let rows: Vec<_> = table(&all).lines().skip(2).map(String::from).collect();
        assert_eq!(
            rows,
            ["| a | 1,234,567 | 99 | 1,234,567 | 2 KiB | 1 KiB |", "| b | 0 | 0 | 0 | 1 KiB | 0 KiB |"]
        );
    }

    #[test]
    fn only_five_numbers_are_figures() {
        for line in ["", "1,2,3,4", "1,2,3,4,x", "1,2,3,4,5,6", "1,2,3,4,0"] {
            assert!(parse("a", line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_loads_have_figures() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/figures"), "1,2,3,4,5\n").unwrap();
        let test = |name: &str, load: Option<&str>| Test {
            name: name.into(),
            load: load.map(Into::into),
            ..Test::default()
        };
        assert!(take(&test("a", Some("load")), dir.path()).unwrap().is_some());
        assert!(take(&test("a", None), dir.path()).unwrap().is_none());
        assert!(take(&test("b", Some("load")), dir.path()).unwrap().is_none());
    }

    #[test]
    fn the_table_goes_into_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { results: dir.path().join("RESULTS.md"), readme: dir.path().join("README.md") };
        let system = System {
            release: "14.2".into(),
            machine: "amd64".into(),
            ident: "GENERIC".into(),
            witness: false,
        };
        let all = [parse("the load", "1,2,3,4,5").unwrap()];
        fs::write(&files.readme, "no marks\n").unwrap();
        assert!(write(&files, &system, &all).is_err());
        assert!(!files.results.exists(), "nothing is written by halves");
        fs::write(&files.readme, format!("a\n{BEGIN}\nold\n{END}\nz\n")).unwrap();
        write(&files, &system, &all).unwrap();
        let readme = fs::read_to_string(&files.readme).unwrap();
        assert!(readme.starts_with("a\n") && readme.ends_with("-->\nz\n"), "{readme}");
        assert!(readme.contains("| the load | 1 | 2 | 3 |") && !readme.contains("old"), "{readme}");
        let results = fs::read_to_string(&files.results).unwrap();
        assert!(results.contains("FreeBSD 14.2 amd64 GENERIC, QEMU with `-accel"), "{results}");
        assert!(results.contains("| the load | 1 | 2 | 3 |"), "{results}");
    }
}
