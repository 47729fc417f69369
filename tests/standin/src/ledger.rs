//! What each thread has made, and whether it is in the trace file: all of it, in order, byte by byte.

use std::collections::BTreeMap;

use ktrace_format::{Kind, Payload, PerKind, Record, Timespec};
use ktrcheck::{Check, Class, Order, TraceFile};

use crate::heap::JUNK;
use crate::host::violation;
use crate::thread::Kt;
use crate::vnode::Vnode;

/// A record that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    kind: Kind,
    payload: Box<[u8]>,
}

/// What a thread has made, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    made: Vec<Made>,
}

impl Made {
    fn new(payload: &Payload<'_>) -> Made {
        let mut bytes = vec![0; payload.len()].into_boxed_slice();
        payload.encode(&mut bytes).expect("room for a payload");
        Made { kind: payload.kind(), payload: bytes }
    }
}

/// Notes that a thread makes a record.
pub(crate) fn note(kt: &Kt, payload: &Payload<'_>) {
    kt.ledger.lock().expect("nobody panics with it").made.push(Made::new(payload));
}

/// What is in a trace file.
#[derive(Debug, Default)]
pub struct Found {
    /// Records by type.
    pub records: PerKind<u64>,
    /// Records that are marked `KTR_DROP`.
    pub marks: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Found {
    /// All records.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|(_, count)| count).sum()
    }
}

/// Looks through a trace file: whole records, those of each thread in the order of their times, and no memory of the
/// kernel in them.
pub fn check_records(vnode: &Vnode) -> Found {
    let content = vnode.content();
    if let Some(at) = content.windows(JUNK.len()).position(|bytes| bytes == JUNK) {
        violation!(Record, "memory of the kernel that nobody has written to is in the file, at byte {at}");
    }
    let mut found = Found { bytes: content.len() as u64, ..Found::default() };
    let (mut rest, mut last) = (&content[..], BTreeMap::<i64, Timespec>::new());
    while !rest.is_empty() {
        let at = content.len() - rest.len();
        match Record::decode(rest) {
            Ok((record, behind)) => {
                let last = last.entry(record.header.tid).or_default();
                if record.header.time < *last {
                    violation!(Record, "time goes back for a thread at byte {at} of {}", content.len());
                }
                *last = record.header.time;
                *found.records.get_mut(record.header.kind) += 1;
                found.marks += u64::from(record.header.drop);
                rest = behind;
            }
            Err(error) => violation!(Record, "byte {at} of {}: {error:?}", content.len()),
        }
    }
    found
}

/// As [`check_records`], and as ktrcheck wants them; but for what is missing, where some may be.
fn check_whole(vnode: &Vnode, exact: Exact) -> Found {
    let found = check_records(vnode);
    if found.bytes != 0 {
        let file = TraceFile::open(vnode.host_path())
            .unwrap_or_else(|error| violation!(Record, "{}: {error}", vnode.host_path().display()));
        let mut check = Check::new(&file, Order::Thread, &|_| ());
        while let Ok(Some(finding)) = check.next_finding() {
            let missing = matches!(finding.what.class(), Class::Drop | Class::Call);
            if exact == Exact::All || !missing {
                violation!(Record, "ktrcheck: {finding}");
            }
        }
    }
    found
}

/// What is to be in a file against what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    /// All that was made, and nothing is marked.
    All,
    /// What is there was made, in that order; some may be missing.
    Some,
}

/// Checks a trace file against what these threads have made, all of it there. Returns what was found and how many
/// were made of each type.
pub fn check(vnode: &Vnode, threads: &[&'static Kt], exact: Exact) -> (Found, PerKind<u64>) {
    let found = check_whole(vnode, exact);
    if exact == Exact::All && found.marks != 0 {
        violation!(Record, "{} records are marked KTR_DROP", found.marks);
    }
    let content = vnode.content();
    let mut of_thread: BTreeMap<i64, Vec<(usize, Record<'_>)>> = BTreeMap::new();
    let mut rest = &content[..];
    while let Ok((record, behind)) = Record::decode(rest) {
        of_thread.entry(record.header.tid).or_default().push((content.len() - rest.len(), record));
        rest = behind;
    }
    let mut made = PerKind::<u64>::default();
    for kt in threads {
        let ledger = kt.ledger.lock().expect("nobody panics with it");
        for record in &ledger.made {
            *made.get_mut(record.kind) += 1;
        }
        let records = of_thread.remove(&i64::from(kt.tid())).unwrap_or_default();
        check_thread(kt, &ledger.made, &records, exact);
    }
    if let Some((tid, records)) = of_thread.first_key_value() {
        violation!(Record, "{} records of tid {tid}, which is not traced", records.len());
    }
    (found, made)
}

fn check_thread(kt: &Kt, made: &[Made], records: &[(usize, Record<'_>)], exact: Exact) {
    let mut expected = made.iter().enumerate();
    for (at, record) in records {
        if record.header.pid != kt.proc().pid() {
            violation!(Record, "a record of {} has pid {}", kt.describe(), record.header.pid);
        }
        let is = Made::new(&record.payload);
        loop {
            match expected.next() {
                Some((_, made)) if *made == is => break,
                Some(_) if exact == Exact::Some => {}
                Some((index, made)) => violation!(
                    Record,
                    "record {index} of {} is {:?}, not {:?}, at byte {at}",
                    kt.describe(),
                    is.kind,
                    made.kind
                ),
                None => violation!(
                    Record,
                    "{} has a record {:?} at byte {at} that was not made{}",
                    kt.describe(),
                    is.kind,
                    if exact == Exact::Some { " there" } else { "" }
                ),
            }
        }
    }
    if exact == Exact::All
        && let Some((index, made)) = expected.next()
    {
        violation!(
            Record,
            "record {index} of {} of {} is not in the file: {:?}",
            kt.describe(),
            records.len(),
            made.kind
        );
    }
}
