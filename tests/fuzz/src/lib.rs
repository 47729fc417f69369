//! What must hold of any bytes that are read as a trace file.
#![forbid(unsafe_code)]

mod trace;

use std::ops::Range;

use ktrace_format::{
    CAP_FAIL_LEN, CapData, DecodeError, EXTERR_LEN, EXTERR_MSG_LEN, HEADER_LEN, Header, MAXCOMLEN, Payload,
    Record, Records, split_record,
};

pub use trace::check_trace;

/// The end of `ktr_comm`, which is always a NUL, in a header.
const COMM_END: Range<usize> = 12 + MAXCOMLEN..12 + MAXCOMLEN + 1;

/// Padding at the end of a header.
const HEADER_PADDING: Range<usize> = 60..HEADER_LEN;

/// Reads the bytes as a trace file, behind records that are not what they say as well; panics if
/// what is read is not what the bytes hold.
pub fn check(bytes: &[u8]) {
    let mut rest = bytes;
    let mut decoded = Vec::new();
    loop {
        let record = Record::decode(rest);
        match (record, split_record(rest)) {
            (Ok((record, behind)), Some((header, whole, behind_whole))) => {
                assert_eq!((record.header, record.payload.kind()), (header, header.kind));
                assert_eq!(behind, behind_whole);
                assert_split(rest, whole, behind);
                assert_comes_back(&record, whole);
                decoded.push(Ok(record));
                rest = behind;
            }
            (Err(DecodeError::Payload(kind)), Some((header, whole, behind))) => {
                assert_eq!(kind, header.kind);
                assert_split(rest, whole, behind);
                decoded.push(Err(DecodeError::Payload(kind)));
                rest = behind;
            }
            (Err(error @ (DecodeError::Truncated | DecodeError::Header)), None) => {
                if !rest.is_empty() {
                    decoded.push(Err(error));
                }
                break;
            }
            (decoded, split) => panic!("{decoded:?}, but {split:?}"),
        }
    }
    // Read one after the other the records are the same, up to the first that is none.
    let up_to_error = decoded.iter().position(Result::is_err).map_or(decoded.len(), |error| error + 1);
    assert!(Records::new(bytes).eq(decoded[..up_to_error].iter().copied()));
}

/// The first record and what is behind it are all that there is, and the record is not empty.
fn assert_split(bytes: &[u8], whole: &[u8], behind: &[u8]) {
    assert!(whole.len() >= HEADER_LEN);
    assert_eq!(whole.len() + behind.len(), bytes.len());
    assert_eq!(&bytes[..whole.len()], whole);
}

/// Encoded again the record is the same bytes but for padding, which is zero, and decoded again
/// the same record.
fn assert_comes_back(record: &Record<'_>, whole: &[u8]) {
    let mut again = vec![0xff; whole.len()];
    assert_eq!(record.encode(&mut again), Ok(whole.len()));
    let mut expected = whole.to_vec();
    for padding in padding(&record.payload) {
        expected[padding].fill(0);
    }
    if let Payload::Csw(csw) = record.payload {
        // Any number but zero is true.
        expected[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&i32::from(csw.out).to_ne_bytes());
        expected[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&i32::from(csw.user).to_ne_bytes());
    }
    assert_eq!(again, expected, "{record:?}");

    let mut comm = record.header.comm;
    comm[MAXCOMLEN] = 0;
    let header = Header { comm, ..record.header };
    let (decoded, rest) = Record::decode(&again).expect("what was encoded is decoded");
    assert_eq!(decoded, Record { header, payload: record.payload });
    assert!(rest.is_empty());
}

/// Where `sys/ktrace.h` has nothing in a record, from the record's start.
fn padding(payload: &Payload<'_>) -> impl Iterator<Item = Range<usize>> {
    const NONE: Range<usize> = 0..0;
    let of_payload = match payload {
        Payload::Syscall(_) => [4..8, NONE, NONE],
        Payload::Sysret(_) => [2..4, NONE, NONE],
        Payload::Psig(_) => [4..8, 36..40, NONE],
        Payload::Csw(csw) => [8 + csw.wmesg.len()..16, NONE, NONE],
        Payload::Fault(_) => [12..16, NONE, NONE],
        Payload::CapFail(fail) => {
            let used = match fail.data {
                CapData::None => 0,
                CapData::Rights { .. } => 32,
                CapData::Int(_) => 4,
                CapData::Sockaddr(address) => address.len(),
                CapData::Path(path) => path.len(),
            };
            [6..8, 12..16, 16 + used..CAP_FAIL_LEN]
        }
        Payload::Exterr(exterr) => {
            let msg = EXTERR_LEN - EXTERR_MSG_LEN;
            [20..24, 40..msg, msg + exterr.msg.len()..EXTERR_LEN]
        }
        _ => [NONE, NONE, NONE],
    };
    let of_payload = of_payload.into_iter().map(|range| range.start + HEADER_LEN..range.end + HEADER_LEN);
    of_payload.chain([COMM_END, HEADER_PADDING])
}
