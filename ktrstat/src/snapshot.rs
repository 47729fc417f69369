//! The module's sysctls at one time, and what has happened between two times.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use sysctl::{Ctl, CtlValue, Sysctl, SysctlError};

use crate::list::{self, File, Process};

/// What the module says at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    time: Instant,
    /// Of the module.
    pub(crate) version: String,
    /// Records and bytes that were written since the module was loaded, records that were dropped, and the
    /// writes.
    pub(crate) totals: Totals,
    /// Processes that the caller may see.
    pub(crate) processes: Vec<Process>,
    /// Their files.
    pub(crate) files: Vec<File>,
}

/// Numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    pub(crate) dropped: u64,
}

/// The same for each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) records: f64,
    pub(crate) bytes: f64,
    pub(crate) commits: f64,
}

impl Snapshot {
    /// Asks the module.
    pub(crate) fn take() -> Result<Self> {
        let version = match text("version") {
            Err(error) if error.downcast_ref().is_some_and(is_not_found) => {
                bail!("ktrace_rs is not loaded: kldload ktrace_rs")
            }
            version => version?,
        };
        Ok(Snapshot {
            version,
            time: Instant::now(),
            totals: Totals {
                records: number("stats.records")?,
                bytes: number("stats.bytes")?,
                commits: number("stats.commits")?,
                dropped: number("stats.dropped")?,
            },
            processes: list::processes(&text("procs")?).context("kern.ktrace_rs.procs")?,
            files: list::files(&text("files")?).context("kern.ktrace_rs.files")?,
        })
    }

    /// What has happened for each second since `before`; nothing if the module was loaded again since.
    pub(crate) fn rates_since(&self, before: &Snapshot) -> Rates {
        let seconds = self.time.saturating_duration_since(before.time).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Rates {
            records: rate(self.totals.records, before.totals.records),
            bytes: rate(self.totals.bytes, before.totals.bytes),
            commits: rate(self.totals.commits, before.totals.commits),
        }
    }
}

#[cfg(test)]
impl Snapshot {
    /// One that no module has said.
    pub(crate) fn made_up(totals: Totals, processes: Vec<Process>, files: Vec<File>) -> Self {
        Snapshot { time: Instant::now(), version: "0.1.0".into(), totals, processes, files }
    }
}

fn is_not_found(error: &SysctlError) -> bool {
    matches!(error, SysctlError::NotFound(_))
        || matches!(error, SysctlError::IoError(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn value(name: &str) -> Result<CtlValue> {
    let name = format!("kern.ktrace_rs.{name}");
    let ctl = Ctl::new(&name)?;
    ctl.value().context(name)
}

fn text(name: &str) -> Result<String> {
    match value(name)? {
        CtlValue::String(text) => Ok(text),
        other => bail!("kern.ktrace_rs.{name} is no text but {other:?}"),
    }
}

fn number(name: &str) -> Result<u64> {
    match value(name)? {
        CtlValue::U64(number) => Ok(number),
        other => bail!("kern.ktrace_rs.{name} is no number but {other:?}"),
    }
}
