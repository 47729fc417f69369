//! A snapshot as text for people and as JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::list::{File, Process};
use crate::snapshot::{Rates, Snapshot, Totals};

/// Formats the tables of rates, processes and files in at most `rows` lines.
pub(crate) fn table(snapshot: &Snapshot, rates: Option<Rates>, rows: usize) -> String {
    let mut text = String::new();
    let totals = match snapshot.totals {
        None => "statistics of all users and jails: not permitted".to_owned(),
        Some(Totals { records, bytes: written, commits, dropped }) => {
            let written = bytes(written as f64);
            format!("{records} records, {written} in {commits} writes; {dropped} dropped")
        }
    };
    let (processes, files) = (snapshot.processes.len(), snapshot.files.len());
    // Writing to a String does not fail.
    let _ = writeln!(text, "ktrace_rs {}: {processes} processes, {files} files; {totals}", snapshot.version);
    if let Some(rates) = rates {
        let _ = writeln!(
            text,
            "{:.0} records/s, {}/s in {:.0} writes/s",
            rates.records,
            bytes(rates.bytes),
            rates.commits
        );
    }
    let mut processes: Vec<_> = snapshot.processes.iter().collect();
    processes.sort_by_key(|process| (std::cmp::Reverse((process.dropped, process.bytes)), process.pid));
    let _ = writeln!(text, "\n  PID COMMAND            POINTS          BYTES  QUEUED   DROPPED FILE");
    for Process { pid, command, facilities, queued, dropped, bytes: made, file } in processes {
        let _ = writeln!(
            text,
            "{pid:5} {command:<18} {facilities:<12} {:>8} {:>7} {dropped:>9} {}",
            bytes(*made as f64),
            bytes(*queued as f64),
            file.as_deref().unwrap_or("-")
        );
    }
    let _ = writeln!(text, "\nPROCS      RECORDS     WRITES    BYTES GATHERED FILE");
    for File { file, processes, records, commits, bytes: written, gathered } in &snapshot.files {
        let _ = writeln!(
            text,
            "{processes:5} {records:>12} {commits:>10} {:>8} {:>8} {}",
            bytes(*written as f64),
            bytes(*gathered as f64),
            file.as_deref().unwrap_or("-")
        );
    }
    text.split_inclusive('\n').take(rows).collect()
}

/// Formats a number of bytes in the largest unit of which there is at least one, as
/// humanize_number(3) does.
fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "K", "M", "G", "T"] {
        if number < 1024.0 {
            return if unit == "B" { format!("{number:.0}B") } else { format!("{number:.1}{unit}") };
        }
        number /= 1024.0;
    }
    format!("{number:.1}P")
}

/// The output in the form of libxo(3): one object, named after the program.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(rename = "__version")]
    version: &'static str,
    ktrstat: Body<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Body<'a> {
    module_version: &'a str,
    records: Option<u64>,
    bytes: Option<u64>,
    commits: Option<u64>,
    dropped: Option<u64>,
    process: &'a [Process],
    file: &'a [File],
}

/// Formats the snapshot as one line of JSON.
pub(crate) fn json(snapshot: &Snapshot) -> serde_json::Result<String> {
    let totals = snapshot.totals;
    let body = Body {
        module_version: &snapshot.version,
        records: totals.map(|totals| totals.records),
        bytes: totals.map(|totals| totals.bytes),
        commits: totals.map(|totals| totals.commits),
        dropped: totals.map(|totals| totals.dropped),
        process: &snapshot.processes,
        file: &snapshot.files,
    };
    serde_json::to_string(&Json { version: "1", ktrstat: body }).map(|line| line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    fn snapshot() -> Snapshot {
        let process = |pid, dropped, bytes| Process {
            pid,
            command: "sh".into(),
            facilities: "cn".into(),
            queued: 0,
            dropped,
            bytes,
            file: Some("/tmp/a b".into()),
        };
        let file = File { file: None, processes: 3, records: 10, commits: 2, bytes: 2048, gathered: 160 };
        Snapshot::made_up(
            Some(Totals { records: 10, bytes: 2048, commits: 2, dropped: 4 }),
            vec![process(7, 0, 100), process(8, 4, 20), process(9, 0, 3 << 20)],
            vec![file],
        )
    }

    #[test]
    fn those_that_lose_or_make_most_come_first() {
        let text = table(&snapshot(), None, 100);
        let pids: Vec<_> =
            text.lines().filter(|line| line.contains("/tmp/a b")).map(|line| &line[..5]).collect();
        assert_eq!(pids, ["    8", "    9", "    7"]);
        assert!(text.contains("    3           10          2     2.0K     160B -\n"), "{text}");
        assert!(text.contains("10 records, 2.0K in 2 writes; 4 dropped"));
        assert_eq!(table(&snapshot(), None, 3).lines().count(), 3);
    }

    #[test]
    fn json_has_what_there_is() {
        let text = json(&snapshot()).expect("it can be JSON");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["__version"], "1");
        assert_eq!(value["ktrstat"]["dropped"], 4);
        assert_eq!(value["ktrstat"]["process"][1]["pid"], 8);
        assert_eq!(value["ktrstat"]["process"][1]["file"], "/tmp/a b");
        assert!(value["ktrstat"]["file"][0]["file"].is_null());
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn refused_statistics_are_none_and_drops_those_that_are_shown() {
        let Snapshot { processes, files, .. } = snapshot();
        let refused = Snapshot::made_up(None, processes, files);
        let text = table(&refused, refused.rates_since(&refused), 100);
        assert!(
            text.contains("3 processes, 1 files; statistics of all users and jails: not permitted\n\n"),
            "{text}"
        );
        assert!(text.contains("    8 sh"), "{text}");
        let value: serde_json::Value =
            serde_json::from_str(&json(&refused).expect("it can be JSON")).expect("it is JSON");
        assert!(value["ktrstat"]["records"].is_null() && value["ktrstat"]["dropped"].is_null());
        assert_eq!(value["ktrstat"]["process"][1]["pid"], 8);
        assert_eq!((refused.dropped(), snapshot().dropped()), (4, 4));
    }

    #[test]
    fn bytes_have_units() {
        let texts = [0.0, 1023.0, 1024.0, 1536.0, 5e9, 1e20].map(bytes);
        assert_eq!(texts, ["0B", "1023B", "1.0K", "1.5K", "4.7G", "88817.8P"]);
    }
}
