//! A builder of whole and damaged traces.

use ktrace_format::{
    AnyHeader, HEADER_V0_LEN, Header, Kind, Payload, ProcCtor, Record, Syscall, Sysret, Timespec, Version,
};
use ktrcheck::{Check, Finding, Order, Summary, What};

/// A trace built record by record, each a microsecond after the previous one.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) bytes: Vec<u8>,
    /// Offset of each record.
    pub(crate) offsets: Vec<usize>,
    pub(crate) version: Version,
    pub(crate) microseconds: i64,
    /// Whether the next record is marked `KTR_DROP`.
    pub(crate) drop: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Trace { bytes: Vec::new(), offsets: Vec::new(), version: Version::V1, microseconds: 1, drop: false }
    }

    /// Adds a record of this thread.
    pub(crate) fn record(&mut self, (pid, tid): (i32, i64), payload: Payload<'_>) -> &mut Self {
        let (sec, microseconds) = (self.microseconds / 1_000_000, self.microseconds % 1_000_000);
        let header = Header {
            len: 0,
            kind: Kind::User,
            drop: std::mem::take(&mut self.drop),
            pid,
            comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            time: Timespec { sec, nsec: microseconds * 1000 },
            tid,
            cpu: 1,
        };
        self.microseconds += 1;
        let mut bytes = vec![0; Record::encoded_len(&payload)];
        Record { header, payload }.encode(&mut bytes).expect("the record is small");
        if self.version == Version::V0 {
            bytes[5] &= !0x40; // KTR_VERSIONED
            bytes[6..8].fill(0);
            bytes[40..48].copy_from_slice(&microseconds.to_ne_bytes());
            bytes.drain(HEADER_V0_LEN..64);
        }
        self.offsets.push(self.bytes.len());
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn call(&mut self, thread: (i32, i64), code: i16) -> &mut Self {
        let args: &[u64] = &[3, 4];
        self.record(thread, Payload::Syscall(Syscall { code, args: args.into() }))
    }

    pub(crate) fn ret(&mut self, thread: (i32, i64), code: i16) -> &mut Self {
        self.record(thread, Payload::Sysret(Sysret { code, error: 0, retval: 0 }))
    }

    pub(crate) fn ctor(&mut self, thread: (i32, i64)) -> &mut Self {
        self.record(thread, Payload::ProcCtor(ProcCtor { sv_flags: 9 }))
    }

    /// Returns the findings with their offsets, and the summary.
    pub(crate) fn check(&self) -> (Vec<(u64, What)>, Summary) {
        let (found, summary) = check(&self.bytes, Order::File);
        (found.into_iter().map(|finding| (finding.offset, finding.what)).collect(), summary)
    }

    /// Returns the findings with the numbers of their records.
    pub(crate) fn found(&self) -> Vec<(usize, What)> {
        let number = |offset: u64| self.offsets.iter().position(|at| *at as u64 == offset);
        let (found, _) = self.check();
        found.into_iter().map(|(offset, what)| (number(offset).expect("a record is there"), what)).collect()
    }
}

/// Checks `bytes` to the end.
pub(crate) fn check(bytes: &[u8], order: Order) -> (Vec<Finding>, Summary) {
    let mut check = Check::new(bytes, order, &|_| ());
    let mut found = Vec::new();
    while let Some(finding) = check.next_finding().expect("memory can be read") {
        found.push(finding);
    }
    let summary = check.finish();
    assert_eq!(summary.is_whole(), found.is_empty());
    (found, summary)
}

#[test]
fn version_0_is_made_as_it_is_read() {
    let mut trace = Trace::new();
    trace.version = Version::V0;
    trace.microseconds = 5_000_007;
    trace.drop = true;
    trace.ret((845, 100_123), 3);
    let header = AnyHeader::decode(&trace.bytes).expect("a header");
    assert_eq!((header.version, header.pid, header.tid, header.drop), (Version::V0, 845, 100_123, true));
    assert_eq!(header.time, Timespec { sec: 5, nsec: 7000 });
    assert_eq!(trace.bytes.len(), 56 + 16);
}
