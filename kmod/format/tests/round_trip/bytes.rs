//! Bytes that were not encoded by this crate.

use ktrace_format::{DecodeError, HEADER_LEN, Kind, Record, Records, split_record};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{any_header, any_kind, any_parts, encoded};

/// Returns a header that announces `len` bytes of `kind`, followed by `body`.
fn with_header(kind: u16, len: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&(kind | 0x4000).to_ne_bytes());
    bytes[6..8].copy_from_slice(&1_i16.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// Checks that decoding ends, and that splitting agrees with it. Bytes that can be decoded can be
/// split off. Bytes that cannot be split off cannot be decoded.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match (Record::decode(bytes), split_record(bytes)) {
        (Ok((record, rest)), Some((header, split, behind))) => {
            prop_assert_eq!((record.header, rest), (header, behind));
            prop_assert_eq!(split.len(), Record::encoded_len(&record.payload));
            prop_assert_eq!(split.len() + rest.len(), bytes.len());
            prop_assert_eq!(record.payload.kind(), header.kind);
        }
        (Err(DecodeError::Payload(kind)), Some((header, ..))) => prop_assert_eq!(kind, header.kind),
        (Err(DecodeError::Truncated | DecodeError::Header), None) => {}
        (decoded, split) => prop_assert!(false, "{:?}, but {:?}", decoded, split),
    }
    let found: Vec<_> = Records::new(bytes).collect();
    prop_assert!(found.len() <= bytes.len() / HEADER_LEN + 1);
    prop_assert!(found.iter().rev().skip(1).all(Result::is_ok));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn any_bytes_behind_a_header(kind in any_kind(), body in vec(any::<u8>(), 0..200), more in 0..20_usize) {
        let len = i32::try_from(body.len()).expect("the body is small");
        check(&with_header(kind as u16, len, &body))?;
        // The header announces fewer bytes, or more, than there are.
        check(&with_header(kind as u16, len.saturating_sub(more as i32), &body))?;
        check(&with_header(kind as u16, len + more as i32, &body))?;
    }

    #[test]
    fn any_header_fields(ktr_type in any::<u16>(), len in any::<i32>(), version in 0..3_i16) {
        let mut bytes = with_header(ktr_type, len, &[0; 64]);
        bytes[4..6].copy_from_slice(&ktr_type.to_ne_bytes());
        bytes[6..8].copy_from_slice(&version.to_ne_bytes());
        check(&bytes)?;
        let known = Kind::from_number(ktr_type & 0x3fff).is_some() && ktr_type & 0x4000 != 0;
        let header_fails = Record::decode(&bytes) == Err(DecodeError::Header);
        prop_assert_eq!(header_fails, !known || version != 1 || len < 0);
    }

    #[test]
    fn a_record_with_some_bytes_changed(
        header in any_header(),
        parts in any_parts(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encoded(header, parts.payload());
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        check(&bytes)?;
    }

    #[test]
    fn a_payload_of_fixed_length_with_more_or_less(kind in any_kind(), len in 0..1100_i32) {
        let fixed = match kind {
            Kind::Sysret | Kind::Csw | Kind::Fault => 16,
            Kind::Psig => 40,
            Kind::ProcCtor | Kind::FaultEnd => 4,
            Kind::ProcDtor => 0,
            Kind::CapFail => 1040,
            Kind::Exterr => 200,
            _ => return Ok(()),
        };
        let bytes = with_header(kind as u16, len, &vec![0; len as usize]);
        prop_assert_eq!(Record::decode(&bytes).is_ok(), len == fixed);
        let bytes = with_header(kind as u16, fixed, &vec![0; fixed as usize]);
        prop_assert!(Record::decode(&bytes).is_ok());
    }
}

#[test]
fn a_payload_whose_own_counts_are_wrong_is_refused() {
    let narg = |narg: i16, args: usize| {
        let mut body = vec![0; 8 + args * 8];
        body[2..4].copy_from_slice(&narg.to_ne_bytes());
        with_header(Kind::Syscall as u16, body.len() as i32, &body)
    };
    assert!(Record::decode(&narg(2, 2)).is_ok());
    for (claimed, present) in [(2, 1), (1, 2), (-1, 0), (i16::MAX, 3)] {
        assert_eq!(Record::decode(&narg(claimed, present)), Err(DecodeError::Payload(Kind::Syscall)));
    }
    let unended = with_header(Kind::Struct as u16, 4, b"stat");
    assert_eq!(Record::decode(&unended), Err(DecodeError::Payload(Kind::Struct)));
}
