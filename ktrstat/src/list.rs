//! Parser of the lists `kern.ktrace_rs.procs` and `kern.ktrace_rs.files`.
//!
//! Each is a line of column names, followed by a line of words for each process or file.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// A traced process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    /// Process id.
    pub(crate) pid: i32,
    /// Program name.
    pub(crate) command: String,
    /// Enabled trace points, as the letters of ktrace(1).
    pub(crate) facilities: String,
    /// Bytes of queued records.
    pub(crate) queued: u64,
    /// Number of dropped records.
    pub(crate) dropped: u64,
    /// Bytes of records that the process has made.
    pub(crate) bytes: u64,
    /// The trace file, or `None` if it has no name or the name may not be shown.
    pub(crate) file: Option<String>,
}

/// An open trace file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// Name of the file, if it has one that may be shown.
    pub(crate) file: Option<String>,
    /// Number of processes traced to the file.
    pub(crate) processes: u64,
    /// Records, writes and bytes written so far.
    pub(crate) records: u64,
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
    /// Bytes in memory that are not written yet.
    pub(crate) gathered: u64,
}

/// Parses `kern.ktrace_rs.procs`.
pub(crate) fn processes(text: &str) -> Result<Vec<Process>> {
    lines(text)?
        .map(|line| {
            Ok(Process {
                pid: line.number("PID")?,
                command: line.text("COMMAND")?,
                facilities: line.word("FACILITIES")?.replace('-', ""),
                queued: line.number("QUEUED")?,
                dropped: line.number("DROPPED")?,
                bytes: line.number("BYTES")?,
                file: line.name("FILE")?,
            })
        })
        .collect()
}

/// Parses `kern.ktrace_rs.files`.
pub(crate) fn files(text: &str) -> Result<Vec<File>> {
    lines(text)?
        .map(|line| {
            Ok(File {
                file: line.name("FILE")?,
                processes: line.number("PROCS")?,
                records: line.number("RECORDS")?,
                commits: line.number("COMMITS")?,
                bytes: line.number("BYTES")?,
                gathered: line.number("GATHERED")?,
            })
        })
        .collect()
}

/// The words of a line by column name. A later module version may have more columns.
struct Line<'a>(HashMap<&'a str, &'a str>);

fn lines(text: &str) -> Result<impl Iterator<Item = Line<'_>>> {
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let names: Vec<_> = lines.next().context("no names of columns")?.split_whitespace().collect();
    Ok(lines.map(move |line| Line(names.iter().copied().zip(line.split_whitespace()).collect())))
}

impl Line<'_> {
    fn word(&self, name: &str) -> Result<&str> {
        self.0.get(name).copied().with_context(|| format!("no column {name}"))
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<N> {
        let word = self.word(name)?;
        word.parse().ok().with_context(|| format!("{name} is {word}"))
    }

    fn text(&self, name: &str) -> Result<String> {
        unvis(self.word(name)?)
    }

    fn name(&self, name: &str) -> Result<Option<String>> {
        Ok(Some(self.text(name)?).filter(|name| name != "-"))
    }
}

/// Decodes escapes of a backslash and three octal digits, and replaces bytes that are not UTF-8.
fn unvis(word: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let digits = escape.get(..3).with_context(|| format!("{word} ends in an escape"))?;
        ensure!(digits.bytes().all(|digit| digit.is_ascii_digit()), "{word} has an escape that is none");
        bytes.push(u8::from_str_radix(digits, 8).with_context(|| format!("\\{digits} in {word}"))?);
        rest = &escape[3..];
    }
    bytes.extend(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCS: &str = "\nPID COMMAND FACILITIES QUEUED DROPPED BYTES FILE\n\
                         71 tick cu 0 3 5120 /tmp/a\\040b\\134\n\
                         72 my\\040sh - 160 0 0 -\n";

    #[test]
    fn a_line_is_a_process() {
        let found = processes(PROCS).expect("the list is whole");
        let first = Process {
            pid: 71,
            command: "tick".into(),
            facilities: "cu".into(),
            queued: 0,
            dropped: 3,
            bytes: 5120,
            file: Some("/tmp/a b\\".into()),
        };
        assert_eq!(found[0], first);
        let second = &found[1];
        assert_eq!((second.command.as_str(), second.facilities.as_str()), ("my sh", ""));
        assert_eq!((second.queued, second.file.as_deref()), (160, None));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "NEW FILE GATHERED BYTES COMMITS RECORDS PROCS\nx /a 1 2 3 4 5\n";
        let found = files(text).expect("the list is whole");
        let file =
            File { file: Some("/a".into()), processes: 5, records: 4, commits: 3, bytes: 2, gathered: 1 };
        assert_eq!(found, [file]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert!(processes("").is_err());
        assert!(processes("PID\n7\n").is_err());
        assert!(files("PROCS RECORDS COMMITS BYTES GATHERED FILE\n1 2 3 x 5 /a\n").is_err());
        assert!(files("PROCS RECORDS COMMITS BYTES GATHERED FILE\n1 2 3\n").is_err());
        for word in ["\\04", "a\\", "\\9zz", "\\+12", "\\777", "\\é"] {
            assert!(unvis(word).is_err(), "{word}");
        }
        assert_eq!(processes("\nPID COMMAND\n").expect("nobody is traced"), []);
    }
}
