//! Records encoded by this crate.

use std::ops::Range;

use ktrace_format::{
    CAP_FAIL_LEN, CapData, CapFail, Csw, DecodeError, EncodeError, HEADER_LEN, Header, Kind, MAXPATHLEN,
    Payload, Record, Records, Syscall, encode_header, split_record,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{any_header, any_parts, encoded};

/// Returns the padding in a payload, from `sys/ktrace.h`.
fn padding(payload: &Payload<'_>) -> [Range<usize>; 3] {
    const NONE: Range<usize> = 0..0;
    match payload {
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
        _ => [NONE, NONE, NONE],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_record_comes_back(header in any_header(), parts in any_parts()) {
        let payload = parts.payload();
        prop_assert_eq!(payload.kind(), parts.kind);
        let bytes = encoded(header, payload);
        prop_assert_eq!(bytes.len(), HEADER_LEN + payload.len());
        let (record, rest) = Record::decode(&bytes).expect("what was encoded is decoded");
        prop_assert!(rest.is_empty());
        prop_assert_eq!(record.payload, payload);
        let len = u32::try_from(payload.len()).expect("the payload is small");
        prop_assert_eq!(record.header, Header { len, kind: parts.kind, ..header });
        prop_assert_eq!(encoded(record.header, record.payload), bytes);
    }

    #[test]
    fn padding_is_zero(header in any_header(), parts in any_parts()) {
        let payload = parts.payload();
        let bytes = encoded(header, payload);
        prop_assert_eq!(&bytes[60..64], &[0; 4]);
        for range in padding(&payload) {
            prop_assert!(bytes[HEADER_LEN..][range.clone()].iter().all(|byte| *byte == 0), "{:?}", range);
        }
    }

    #[test]
    fn nothing_is_written_behind_the_record_or_where_it_does_not_fit(
        header in any_header(),
        parts in any_parts(),
        less in any::<prop::sample::Index>(),
    ) {
        let record = Record { header, payload: parts.payload() };
        let len = Record::encoded_len(&record.payload);
        let mut roomy = vec![0xff; len + 9];
        prop_assert_eq!(record.encode(&mut roomy), Ok(len));
        prop_assert_eq!(&roomy[len..], &[0xff; 9]);
        let mut short = vec![0xff; less.index(len)];
        prop_assert_eq!(record.encode(&mut short), Err(EncodeError::NoRoom));
        prop_assert!(short.iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn a_truncated_record_is_refused(
        header in any_header(),
        parts in any_parts(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(header, parts.payload());
        let bytes = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(Record::decode(bytes), Err(DecodeError::Truncated));
        prop_assert_eq!(split_record(bytes), None);
    }

    #[test]
    fn a_file_is_its_records(
        all in vec((any_header(), any_parts()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes: Vec<Vec<u8>> = all.iter().map(|(header, parts)| encoded(*header, parts.payload())).collect();
        let file = bytes.concat();
        let records: Result<Vec<_>, _> = Records::new(&file).collect();
        let payloads: Vec<_> = records.expect("the file is whole").iter().map(|record| record.payload).collect();
        prop_assert_eq!(payloads, all.iter().map(|(_, parts)| parts.payload()).collect::<Vec<_>>());

        let mut rest = file.as_slice();
        for (record, (header, parts)) in bytes.iter().zip(&all) {
            let (split_header, split, behind) = split_record(rest).expect("a record is there");
            let len = u32::try_from(record.len() - HEADER_LEN).expect("a record is short");
            prop_assert_eq!(split_header, Header { len, kind: parts.kind, ..*header });
            prop_assert_eq!(split, record.as_slice());
            rest = behind;
        }
        prop_assert!(rest.is_empty() && split_record(rest).is_none());

        // A file that is cut anywhere but between two records ends with one error.
        let at = cut.index(file.len() + 1);
        let mut ends = bytes.iter().scan(0, |end, record| { *end += record.len(); Some(*end) });
        let between = at == 0 || ends.any(|end| end == at);
        let found: Vec<_> = Records::new(&file[..at]).collect();
        let errors: Vec<_> = found.iter().filter_map(|record| record.err()).collect();
        prop_assert_eq!(errors, if between { vec![] } else { vec![DecodeError::Truncated] });
        prop_assert!(found.iter().rev().skip(1).all(Result::is_ok));
    }

    #[test]
    fn a_header_over_a_payload_is_a_record(header in any_header(), parts in any_parts()) {
        let payload = parts.payload();
        let expected = encoded(header, payload);
        let mut bytes = vec![0xff; expected.len()];
        payload.encode(&mut bytes[HEADER_LEN..]).expect("there is room for the payload");
        let len = u32::try_from(payload.len()).expect("the payload is small");
        prop_assert_eq!(encode_header(&Header { len, kind: parts.kind, ..header }, &mut bytes), Ok(()));
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_too_long_is_cut_and_ended(text in vec(1..=255_u8, 0..2 * MAXPATHLEN), address in vec(any::<u8>(), 0..40)) {
        let header = header_of_zeroes();
        let csw = encoded(header, Payload::Csw(Csw { out: true, user: true, wmesg: &text }));
        let cut = &text[..text.len().min(7)];
        prop_assert_eq!(
            Record::decode(&csw).expect("a record").0.payload,
            Payload::Csw(Csw { out: true, user: true, wmesg: cut })
        );
        let fail = |cap_type, data| CapFail { cap_type, code: 1, svflags: 2, data };
        let path = encoded(header, Payload::CapFail(fail(6, CapData::Path(&text))));
        let cut = &text[..text.len().min(MAXPATHLEN - 1)];
        prop_assert_eq!(
            Record::decode(&path).expect("a record").0.payload,
            Payload::CapFail(fail(6, CapData::Path(cut)))
        );
        // A short address is filled up with zeroes. A long one is cut.
        let sockaddr = encoded(header, Payload::CapFail(fail(5, CapData::Sockaddr(&address))));
        let mut whole = address.clone();
        whole.resize(16, 0);
        prop_assert_eq!(
            Record::decode(&sockaddr).expect("a record").0.payload,
            Payload::CapFail(fail(5, CapData::Sockaddr(&whole)))
        );
    }
}

fn header_of_zeroes() -> Header {
    Header {
        len: 0,
        kind: Kind::User,
        drop: false,
        pid: 0,
        comm: [0; 20],
        time: ktrace_format::Timespec::default(),
        tid: 0,
        cpu: 0,
    }
}

#[test]
fn a_name_without_its_nul_is_given_one() {
    let header = Header { comm: [b'x'; 20], ..header_of_zeroes() };
    let bytes = encoded(header, Payload::ProcDtor);
    assert_eq!(&bytes[12..32], b"xxxxxxxxxxxxxxxxxxx\0");
}

#[test]
fn more_arguments_than_can_be_counted_are_refused() {
    let args = vec![0_u64; 1 << 15];
    let payload = Payload::Syscall(Syscall { code: 1, args: args.as_slice().into() });
    let mut bytes = vec![0; Record::encoded_len(&payload)];
    let record = Record { header: header_of_zeroes(), payload };
    assert_eq!(record.encode(&mut bytes), Err(EncodeError::TooLarge));
}

#[test]
fn a_length_that_ktr_len_cannot_hold_is_refused() {
    let header = Header { len: 1 << 31, ..header_of_zeroes() };
    assert_eq!(encode_header(&header, &mut [0; HEADER_LEN]), Err(EncodeError::TooLarge));
    let longest = Header { len: (1 << 31) - 1, ..header };
    assert_eq!(encode_header(&longest, &mut [0; HEADER_LEN]), Ok(()));
    assert_eq!(encode_header(&longest, &mut [0; HEADER_LEN - 1]), Err(EncodeError::NoRoom));
}
