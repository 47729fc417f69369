//! The module's sysctls at one time, and the rates between two times.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sysctl::{Ctl, CtlValue, Sysctl, SysctlError};

use crate::list::{self, File, Process};

/// State that the module reports at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    time: Instant,
    /// Version of the module.
    pub(crate) version: String,
    /// Totals since the module was loaded, or `None` where the caller may not see them.
    pub(crate) totals: Option<Totals>,
    /// Processes that the caller may see.
    pub(crate) processes: Vec<Process>,
    /// Trace files of these processes.
    pub(crate) files: Vec<File>,
}

/// Counters that only grow: written records and bytes, writes, and dropped records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    pub(crate) dropped: u64,
}

/// Counters per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) records: f64,
    pub(crate) bytes: f64,
    pub(crate) commits: f64,
}

impl Snapshot {
    /// Reads the module's sysctls.
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
            totals: totals()?,
            processes: list::processes(&lines("procs")?).context("kern.ktrace_rs.procs")?,
            files: list::files(&lines("files")?).context("kern.ktrace_rs.files")?,
        })
    }

    /// Returns the number of records dropped since the module was loaded, as far as the caller may
    /// see.
    pub(crate) fn dropped(&self) -> u64 {
        match self.totals {
            Some(totals) => totals.dropped,
            None => self.processes.iter().map(|process| process.dropped).fold(0, u64::saturating_add),
        }
    }

    /// Returns the rates since `before`, or `None` without totals.
    ///
    /// The rates are zero if the module was loaded again in between.
    pub(crate) fn rates_since(&self, before: &Snapshot) -> Option<Rates> {
        let (now, before_then) = (self.totals?, before.totals?);
        let seconds = self.time.saturating_duration_since(before.time).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Some(Rates {
            records: rate(now.records, before_then.records),
            bytes: rate(now.bytes, before_then.bytes),
            commits: rate(now.commits, before_then.commits),
        })
    }
}

/// Returns the totals, or `None` where the module refuses them to the caller.
fn totals() -> Result<Option<Totals>> {
    let totals = || {
        Ok(Totals {
            records: number("stats.records")?,
            bytes: number("stats.bytes")?,
            commits: number("stats.commits")?,
            dropped: number("stats.dropped")?,
        })
    };
    match totals() {
        Err(error) if is_refused(&error) => Ok(None),
        totals => totals.map(Some),
    }
}

fn is_refused(error: &anyhow::Error) -> bool {
    let error: Option<&SysctlError> = error.downcast_ref();
    matches!(error, Some(SysctlError::IoError(error)) if error.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
impl Snapshot {
    /// Builds a snapshot without a module.
    pub(crate) fn made_up(totals: Option<Totals>, processes: Vec<Process>, files: Vec<File>) -> Self {
        Snapshot { time: Instant::now(), version: "0.1.0".into(), totals, processes, files }
    }
}

fn is_not_found(error: &SysctlError) -> bool {
    matches!(error, SysctlError::NotFound(_))
        || matches!(error, SysctlError::IoError(error) if error.kind() == ErrorKind::NotFound)
}

fn value(name: &str) -> Result<CtlValue> {
    let name = format!("kern.ktrace_rs.{name}");
    let ctl = Ctl::new(&name)?;
    ctl.value().context(name)
}

/// Reads a list with sysctl(8), which allows for a list that grows meanwhile.
///
/// The crate's sysctl() requires exactly as many bytes as the kernel first reported.
fn lines(name: &str) -> Result<String> {
    let output = Command::new("/sbin/sysctl")
        .args(["-n", &format!("kern.ktrace_rs.{name}")])
        .output()
        .context("/sbin/sysctl")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", complaint.trim_end());
    Ok(String::from_utf8(output.stdout)?)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(time: Instant, records: u64, bytes: u64, commits: u64) -> Snapshot {
        let totals = Totals { records, bytes, commits, dropped: 0 };
        Snapshot { time, ..Snapshot::made_up(Some(totals), Vec::new(), Vec::new()) }
    }

    fn rates(now: &Snapshot, before: &Snapshot) -> String {
        let Rates { records, bytes, commits } = now.rates_since(before).unwrap();
        format!("{records:.1} {bytes:.1} {commits:.1}")
    }

    #[test]
    fn rates_are_per_second() {
        let begin = Instant::now();
        let (before, now) = (at(begin, 100, 1000, 10), at(begin + Duration::from_secs(2), 300, 5000, 14));
        assert_eq!(rates(&now, &before), "100.0 2000.0 2.0");
    }

    #[test]
    fn rates_are_zero_if_the_module_was_loaded_again() {
        let begin = Instant::now();
        let (before, now) = (at(begin, 300, 5000, 14), at(begin + Duration::from_secs(2), 100, 1000, 10));
        assert_eq!(rates(&now, &before), "0.0 0.0 0.0");
    }
}
