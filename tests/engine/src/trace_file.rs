//! Checks of a finished trace file.

use std::collections::BTreeMap;

use ktrace_engine::Counter as _;
use ktrace_format::{Kind, PerKind, Record, Timespec};

use crate::host::Engine;

/// Returns the number of records of each type.
pub(crate) fn count<'a>(records: impl IntoIterator<Item = &'a Record<'a>>) -> PerKind<u64> {
    let mut found = PerKind::default();
    for record in records {
        *found.get_mut(record.header.kind) += 1;
    }
    found
}

/// Checks that each process's records are in the order of their times.
pub(crate) fn assert_time_order(records: &[Record<'_>]) {
    let mut last = BTreeMap::<i32, Timespec>::new();
    for record in records {
        let header = &record.header;
        let before = last.insert(header.pid, header.time);
        assert!(
            before.is_none_or(|before| before <= header.time),
            "the records of process {} go back in time",
            header.pid
        );
    }
}

/// Checks that nothing is pending, and that the statistics agree with the files.
pub(crate) fn assert_settled(engine: &Engine, found: &PerKind<u64>) {
    let stats = &engine.stats;
    assert_eq!(stats.queued.fetch(), 0, "bytes still counted as queued");
    assert_eq!(stats.procs.fetch(), 0, "processes still counted as traced");
    for (kind, found) in found.iter() {
        assert_eq!(stats.records.get(kind).fetch(), *found, "{} records in the files", kind.name());
    }
}

/// Returns the number of dropped records of a type.
pub(crate) fn dropped(engine: &Engine, kind: Kind) -> u64 {
    engine.stats.dropped.get(kind).fetch()
}
