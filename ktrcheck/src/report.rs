//! The printed findings and summary of a trace.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use ktrace_format::Kind;

use crate::{Class, Finding, MAX_THREADS, Summary};

/// Number of findings of each class that are shown unless all are requested.
const SHOWN: u64 = 20;

/// Printed report of one trace.
pub(crate) struct Report<'a, W> {
    out: W,
    name: &'a Path,
    all: bool,
    found: BTreeMap<Class, u64>,
}

impl<'a, W: Write> Report<'a, W> {
    /// Creates a report of the trace of this name.
    ///
    /// It shows all findings, or the first [`SHOWN`] of each class.
    pub(crate) fn new(out: W, name: &'a Path, all: bool) -> Self {
        Report { out, name, all, found: BTreeMap::new() }
    }

    /// Prints a finding.
    pub(crate) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let found = self.found.entry(finding.what.class()).or_default();
        *found += 1;
        if self.all || *found <= SHOWN {
            writeln!(self.out, "{}: {finding}", self.name.display())?;
        }
        if !self.all && *found == SHOWN {
            writeln!(self.out, "{}: more of these are counted, and shown with -v", self.name.display())?;
        }
        Ok(())
    }

    /// Prints the counts and whether the trace is whole.
    pub(crate) fn summary(mut self, summary: &Summary) -> io::Result<()> {
        if summary.records > 0 {
            self.types(summary)?;
            self.processes(summary)?;
        }
        let name = self.name.display();
        if summary.not_followed > 0 {
            writeln!(
                self.out,
                "{name}: more than {MAX_THREADS} threads: {} records were checked for less",
                summary.not_followed
            )?;
        }
        let found: Vec<String> =
            summary.found.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let found =
            if found.is_empty() { "whole".to_owned() } else { format!("not whole: {}", found.join(", ")) };
        let (records, processes, threads) = (summary.records, summary.processes.len(), summary.threads);
        writeln!(self.out, "{name}: records {records} processes {processes} threads {threads}: {found}")
    }

    fn types(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "{:<14}{:>14}{:>10}", "TYPE", "RECORDS", "DROPS")?;
        let mut line = |name: &str, records: u64, drops: u64| match records {
            0 => Ok(()),
            _ => writeln!(self.out, "{name:<14}{records:>14}{drops:>10}"),
        };
        for kind in Kind::ALL {
            let records = summary.processes.values().map(|process| process.records.get(kind)).sum();
            line(kind.name(), records, *summary.drops.get(kind))?;
        }
        let of_processes: u64 = summary.processes.values().map(|process| process.drops).sum();
        let of_types: u64 = summary.drops.iter().map(|(_, drops)| drops).sum();
        let unknown = summary.processes.values().map(|process| process.unknown).sum();
        line("unknown", unknown, of_processes.saturating_sub(of_types))
    }

    fn processes(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "{:>6} {:<19}{:>14}{:>10}  TYPES", "PID", "COMMAND", "RECORDS", "DROPS")?;
        for (pid, process) in &summary.processes {
            let known = process.records.iter().filter(|(_, count)| **count > 0);
            let mut types: Vec<String> =
                known.map(|(kind, count)| format!("{} {count}", kind.name())).collect();
            if process.unknown > 0 {
                types.push(format!("unknown {}", process.unknown));
            }
            let records = process.records.iter().map(|(_, count)| count).sum::<u64>() + process.unknown;
            let comm =
                process.comm.split(|byte| *byte == 0).next().unwrap_or_default().escape_ascii().to_string();
            let (drops, types) = (process.drops, types.join(", "));
            writeln!(self.out, "{pid:>6} {comm:<19}{records:>14}{drops:>10}  {types}")?;
        }
        Ok(())
    }
}
