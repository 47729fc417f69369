//! Tests with bytes that are not records.

use ktrace_format::{FaultEnd, Genio, HEADER_V0_LEN, Kind, Payload, Struct, Version};
use ktrcheck::{NotAHeader, Order, What};

use crate::trace::{Trace, check};

const ONE: (i32, i64) = (845, 100_123);
const DATA: &[u8] = &[b'x'; 300];

/// Returns a trace of six records, of which the third is long.
fn six() -> Trace {
    let mut trace = Trace::new();
    trace.ctor(ONE).call(ONE, 3);
    trace.record(ONE, Payload::Genio(Genio { fd: 3, rw: 0, data: DATA }));
    trace.ret(ONE, 3).call(ONE, 4).ret(ONE, 4);
    trace
}

fn not_a_record(trace: &Trace, next: usize, why: NotAHeader) -> What {
    What::NotARecord { next: Some(trace.offsets[next] as u64), why }
}

#[test]
fn nothing_is_empty() {
    assert_eq!(Trace::new().check().0, [(0, What::Empty)]);
}

#[test]
fn bytes_that_are_no_trace_have_no_records() {
    for (len, what) in [
        (1, What::CutOff),
        (HEADER_V0_LEN - 1, What::CutOff),
        (HEADER_V0_LEN, What::NotARecord { next: None, why: NotAHeader::Type }),
        (1 << 20, What::NotARecord { next: None, why: NotAHeader::Type }),
    ] {
        let trace = Trace { bytes: vec![0; len], ..Trace::new() };
        let (found, summary) = trace.check();
        assert_eq!((found, summary.records), (vec![(0, what)], 0));
    }
}

#[test]
fn each_field_of_a_header_is_looked_at() {
    let fields: [(usize, &[u8], NotAHeader); 9] = [
        (0, &(-1_i32).to_ne_bytes(), NotAHeader::Length),
        (4, &0x4000_u16.to_ne_bytes(), NotAHeader::Type),
        (4, &0x4018_u16.to_ne_bytes(), NotAHeader::Type),
        (6, &2_i16.to_ne_bytes(), NotAHeader::Version),
        (8, &0_i32.to_ne_bytes(), NotAHeader::Pid),
        (12, &[b'x'; 20], NotAHeader::Comm),
        (40, &1_000_000_000_u64.to_ne_bytes(), NotAHeader::Time),
        (48, &(1_u64 << 31).to_ne_bytes(), NotAHeader::Tid),
        (56, &1024_i32.to_ne_bytes(), NotAHeader::Cpu),
    ];
    for (offset, bytes, why) in fields {
        let mut trace = six();
        let at = trace.offsets[2] + offset;
        trace.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(trace.found(), [(2, not_a_record(&trace, 3, why))], "{why}");
        assert_eq!(trace.check().1.records, 5);
    }
}

#[test]
fn a_length_that_its_type_cannot_have() {
    let mut trace = six();
    let at = trace.offsets[3];
    trace.bytes[at] += 1;
    assert_eq!(trace.found(), [(3, not_a_record(&trace, 4, NotAHeader::Length))]);
}

#[test]
fn a_length_that_is_too_large_hides_no_record() {
    for more in [1_u32, 200, 1 << 20, 1 << 30] {
        let mut trace = six();
        let at = trace.offsets[2];
        let len = DATA.len() as u32 + 8 + more;
        trace.bytes[at..at + 4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(trace.found(), [(2, not_a_record(&trace, 3, NotAHeader::Length))], "{more}");
    }
}

#[test]
fn a_length_that_is_too_small_hides_no_record() {
    let mut trace = six();
    let at = trace.offsets[2];
    trace.bytes[at..at + 4].copy_from_slice(&100_u32.to_ne_bytes());
    let (found, summary) = trace.check();
    assert_eq!(found, [((at + 64 + 100) as u64, not_a_record(&trace, 3, NotAHeader::Version))]);
    assert_eq!(summary.records, 6);
}

#[test]
fn records_inside_the_data_of_a_damaged_one_are_not_taken() {
    let inner = six().bytes;
    let mut trace = Trace::new();
    trace.ctor(ONE).record(ONE, Payload::Genio(Genio { fd: 3, rw: 0, data: &inner }));
    trace.call(ONE, 4).ret(ONE, 4);
    assert_eq!(trace.found(), []);
    let at = trace.offsets[1];
    trace.bytes[at + 8..at + 12].fill(0);
    assert_eq!(trace.found(), [(1, not_a_record(&trace, 2, NotAHeader::Pid))]);
}

#[test]
fn a_payload_that_is_not_of_its_type() {
    let mut trace = six();
    let narg = trace.offsets[1] + 64 + 2;
    trace.bytes[narg] = 3;
    assert_eq!(trace.found(), [(1, What::Payload(Kind::Syscall))]);
    assert_eq!(trace.check().1.records, 6);
}

#[test]
fn a_structure_without_the_end_of_its_name() {
    let mut trace = six();
    trace.record(ONE, Payload::Struct(Struct { name: b"stat", data: &[1; 9000] }));
    assert_eq!(trace.found(), []);
    let name = trace.offsets[6] + 64 + 4;
    trace.bytes[name] = b'x';
    assert_eq!(trace.found(), [(6, What::Payload(Kind::Struct))]);
}

#[test]
fn types_of_later_releases_are_named_and_passed() {
    let mut trace = six();
    for record in [0, 2] {
        let at = trace.offsets[record] + 4;
        trace.bytes[at..at + 2].copy_from_slice(&(0x4013_u16 + record as u16).to_ne_bytes());
    }
    let (found, summary) = trace.check();
    assert_eq!(found.iter().map(|(_, what)| *what).collect::<Vec<_>>(), [What::Type(19), What::Type(21)]);
    assert_eq!((summary.records, summary.processes[&845].unknown), (6, 2));
}

#[test]
fn payloads_of_older_layouts() {
    let mut trace = Trace::new();
    trace.version = Version::V0;
    for (kind, len) in [(Kind::Csw, 8), (Kind::CapFail, 40)] {
        // A type with any data, stored under another type number.
        trace.record(ONE, Payload::User(&vec![0xff; len]));
        let at = trace.offsets.last().expect("a record was made") + 4;
        trace.bytes[at..at + 2].copy_from_slice(&(kind as u16).to_ne_bytes());
    }
    trace.version = Version::V1;
    trace.record(ONE, Payload::FaultEnd(FaultEnd { result: 0 }));
    assert_eq!(trace.found(), []);
    assert_eq!(trace.check().1.records, 3);
}

#[test]
fn a_trace_of_another_byte_order() {
    for version in [Version::V0, Version::V1] {
        let mut trace = Trace::new();
        trace.version = version;
        trace.call(ONE, 3).ret(ONE, 3);
        for field in [0..4, 4..6, 6..8, 8..12, 32..40, 40..48, 48..56, 56..60] {
            if field.start < version.header_len() {
                trace.bytes[field].reverse();
            }
        }
        let (found, summary) = trace.check();
        assert_eq!((found, summary.records), (vec![(0, What::OtherByteOrder)], 0));
    }
}

#[test]
fn a_place_is_found_behind_much_that_is_none() {
    for filler in [0x00_u8, 0x01, 0xff] {
        let (front, back) = (six(), six());
        let gap = 3 * 256 * 1024 + 5;
        let bytes = [front.bytes.clone(), vec![filler; gap], back.bytes.clone()].concat();
        let (found, summary) = check(&bytes, Order::Thread);
        // The second half is older.
        let next = Some((front.bytes.len() + gap) as u64);
        assert_eq!(found[0].offset, front.bytes.len() as u64);
        assert!(matches!(found[0].what, What::NotARecord { next: found, .. } if found == next), "{found:?}");
        assert_eq!(found[1].what, What::OlderInThread);
        assert_eq!((found.len(), summary.records), (2, 12));
    }
}
