//! The records that each thread has made, and the check that the trace file holds them: all of
//! them, in order, byte by byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ktrace_format::{HEADER_LEN, Header, Kind, Payload, PerKind, ProcCtor, Record, Timespec};
use ktrcheck::{Check, Class, Order, TraceFile};

use crate::heap::JUNK;
use crate::host::violation;
use crate::proc::SV_FLAGS;
use crate::thread::Kt;
use crate::vnode::Vnode;

/// An expected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    kind: Kind,
    payload: Box<[u8]>,
}

/// The payload of the constructor record that each traced process gets.
pub(crate) const CTOR: Payload<'_> = Payload::ProcCtor(ProcCtor { sv_flags: SV_FLAGS });

/// The records that a thread has made, in order.
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

/// Whether other processes begin and end traces at any instruction of a thread.
static CHURN: AtomicBool = AtomicBool::new(false);

/// Makes threads also note records that they may make, from now on.
pub fn begin_churn() {
    CHURN.store(true, Ordering::Relaxed);
}

/// Returns whether threads note possible records.
pub(crate) fn in_churn() -> bool {
    CHURN.load(Ordering::Relaxed)
}

/// Notes that a thread makes a record, or may make one.
pub(crate) fn note(kt: &Kt, payload: &Payload<'_>) {
    kt.ledger.lock().expect("nobody panics with it").made.push(Made::new(payload));
}

/// The contents of a trace file.
#[derive(Debug, Default)]
pub struct Found {
    /// The number of records of each type.
    pub records: PerKind<u64>,
    /// The number of records that are marked `KTR_DROP`.
    pub marks: u64,
    /// The length of the file in bytes.
    pub bytes: u64,
}

impl Found {
    /// Returns the number of all records.
    pub fn total(&self) -> u64 {
        self.records.iter().map(|(_, count)| count).sum()
    }
}

/// Checks a trace file on its own. Records must be whole, each thread's records in the order of
/// their times, and without uninitialised kernel memory.
fn check_records(vnode: &Vnode) -> Found {
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

/// Checks as [`check_records`] does, and with the checks of ktrcheck. Where records may be missing,
/// ignores findings about missing records.
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

/// How closely a file must match the records made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    /// All records made are in the file, and none is marked.
    All,
    /// All records in the file were made, in that order. Some may be missing.
    Some,
    /// As [`Exact::Some`], and exactly the records behind a gap are marked `KTR_DROP`. For
    /// processes with one thread.
    Marked,
    /// As [`Exact::Some`], where other processes begin and end traces. Process constructor and
    /// destructor records are then not the thread's own.
    Churn,
}

/// A record as it stands in a file.
struct InFile<'a> {
    /// The offset of its header.
    at: usize,
    header: Header,
    /// The bytes behind the header.
    payload: &'a [u8],
}

/// Checks a trace file against the records that `threads` have made. The file must hold no other
/// threads' records. Returns the file's contents, and the number of records made of each type.
pub fn check(vnode: &Vnode, threads: &[&'static Kt], exact: Exact) -> (Found, PerKind<u64>) {
    let found = check_whole(vnode, exact);
    if exact == Exact::All && found.marks != 0 {
        violation!(Record, "{} records are marked KTR_DROP", found.marks);
    }
    let content = vnode.content();
    let mut of_thread: BTreeMap<i64, Vec<InFile<'_>>> = BTreeMap::new();
    let mut rest = &content[..];
    while let Ok((record, behind)) = Record::decode(rest) {
        let at = content.len() - rest.len();
        let bytes = &content[at..content.len() - behind.len()];
        let (header, payload) = bytes.split_at(HEADER_LEN);
        // The padding is behind ktr_cpu.
        if header[60..].iter().any(|byte| *byte != 0) {
            violation!(Record, "the padding of the header at byte {at} is not zero");
        }
        of_thread.entry(record.header.tid).or_default().push(InFile { at, header: record.header, payload });
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

fn check_thread(kt: &Kt, made: &[Made], records: &[InFile<'_>], exact: Exact) {
    let (ctor, dtor) = (Made::new(&CTOR), Made::new(&Payload::ProcDtor));
    let mut expected = made.iter().enumerate();
    for InFile { at, header, payload } in records {
        if header.pid != kt.proc().pid() {
            violation!(Record, "a record of {} has pid {}", kt.describe(), header.pid);
        }
        let is = Made { kind: header.kind, payload: (*payload).into() };
        // A process that begins a trace makes such records, and so does a thread that exits while
        // it is traced.
        if exact == Exact::Churn && (is == ctor || is == dtor) {
            continue;
        }
        let mut skipped = false;
        loop {
            match expected.next() {
                Some((_, made)) if *made == is => break,
                Some(_) if exact != Exact::All => skipped = true,
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
                    if exact == Exact::All { "" } else { " there" }
                ),
            }
        }
        if exact == Exact::Marked && skipped != header.drop {
            violation!(
                Record,
                "the record of {} at byte {at} is {}marked, with {} before it",
                kt.describe(),
                if header.drop { "" } else { "not " },
                if skipped { "a gap" } else { "no gap" }
            );
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
