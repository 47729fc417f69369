//! Trace files, and how records get into them.

use alloc::sync::Arc;

use ktrace_format::split_record;

use crate::{Counter, Engine, Errno, Platform, Storage};

/// What one ktrace(2) call opened for writing; shared by the processes that trace to it.
///
/// The last reference must be dropped where sleeping is allowed.
pub struct TraceFile<P: Platform> {
    storage: P::Storage,
    engine: Arc<Engine<P>>,
}

/// Leave to write to a file.
pub(crate) type Leave<P> = <<P as Platform>::Storage as Storage<<P as Platform>::MaySleep>>::Leave;

/// A record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFailed(pub Errno);

impl<P: Platform> TraceFile<P> {
    /// A file that is open for writing.
    pub fn new(engine: Arc<Engine<P>>, storage: P::Storage) -> Self {
        engine.stats.files.add(1);
        TraceFile { storage, engine }
    }

    /// The file itself.
    pub fn storage(&self) -> &P::Storage {
        &self.storage
    }

    /// Appends whole records with one write. If that fails for more than one record, they
    /// are written one by one, so that all are in the file for which there is room; those
    /// that are not are counted as dropped. May sleep.
    pub(crate) fn commit(&self, leave: &Leave<P>, records: &[u8]) -> Result<(), WriteFailed> {
        match self.append(leave, records) {
            Err(failed) if split_record(records).is_some_and(|(_, _, rest)| rest.is_empty()) => {
                self.discard(records);
                Err(failed)
            }
            Err(_) => self.commit_one_by_one(leave, records),
            Ok(()) => Ok(()),
        }
    }

    fn commit_one_by_one(&self, leave: &Leave<P>, mut records: &[u8]) -> Result<(), WriteFailed> {
        while let Some((_, record, rest)) = split_record(records) {
            if let Err(failed) = self.append(leave, record) {
                self.discard(records);
                return Err(failed);
            }
            records = rest;
        }
        Ok(())
    }

    /// Counts records as dropped.
    pub(crate) fn discard(&self, mut records: &[u8]) {
        while let Some((kind, _, rest)) = split_record(records) {
            self.engine.stats.drop_one(kind);
            records = rest;
        }
    }

    fn append(&self, leave: &Leave<P>, mut records: &[u8]) -> Result<(), WriteFailed> {
        self.storage.append(leave, records).map_err(WriteFailed)?;
        let stats = &self.engine.stats;
        stats.commits.add(1);
        stats.bytes.add(i64::try_from(records.len()).unwrap_or(i64::MAX));
        while let Some((kind, _, rest)) = split_record(records) {
            stats.records.get(kind).add(1);
            records = rest;
        }
        Ok(())
    }
}

impl<P: Platform> Drop for TraceFile<P> {
    fn drop(&mut self) {
        self.engine.stats.files.add(-1);
    }
}
