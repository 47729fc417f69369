//! What must hold of any bytes that are checked as a trace file.

use ktrace_format::{AnyHeader, HEADER_V0_LEN};
use ktrcheck::{Check, Order, What};

/// Checks the bytes to their end; panics if what is found cannot be.
pub fn check_trace(bytes: &[u8]) {
    let size = bytes.len() as u64;
    let inside = |position| assert!(position <= size);
    let mut check = Check::new(bytes, Order::File, &inside);
    let (mut found, mut last) = (0, 0);
    while let Some(finding) = check.next_finding().expect("memory can be read") {
        found += 1;
        // In the order of the file, and inside it.
        assert!(finding.offset >= last && (finding.offset < size || finding.what == What::Empty));
        last = finding.offset;
        if let What::NotARecord { next: Some(next), .. } = finding.what {
            assert!(finding.offset < next && next < size);
            AnyHeader::decode(&bytes[next as usize..]).expect("a header is there");
        }
    }
    let summary = check.finish();
    assert_eq!(summary.found.values().sum::<u64>(), found);
    assert_eq!(summary.is_whole(), found == 0);
    assert!(summary.records * HEADER_V0_LEN as u64 <= size);
    let of_process = |process: &ktrcheck::Process| {
        process.records.iter().map(|(_, count)| count).sum::<u64>() + process.unknown
    };
    assert_eq!(summary.processes.values().map(of_process).sum::<u64>(), summary.records);
    if summary.is_whole() {
        assert_eq!(records(bytes), Some(summary.records));
    }
}

/// The number of records, if headers and their lengths alone lead to the end.
fn records(mut bytes: &[u8]) -> Option<u64> {
    let mut records = 0;
    while !bytes.is_empty() {
        let header = AnyHeader::decode(bytes).ok()?;
        let len = header.version.header_len().checked_add(usize::try_from(header.len).ok()?)?;
        bytes = bytes.get(len..)?;
        records += 1;
    }
    Some(records)
}
