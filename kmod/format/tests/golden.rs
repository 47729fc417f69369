//! One record of each type, byte by byte, in the layout of `sys/ktrace.h` on amd64.
//!
//! The expected bytes are little-endian, like all machines that the module runs on (amd64, arm64).
#![cfg(target_endian = "little")]

use ktrace_format::{
    AnyHeader, CapData, CapFail, Csw, DecodeError, Exterr, Fault, FaultEnd, Genio, HEADER_LEN, Header, Kind,
    Payload, ProcCtor, Psig, Record, Struct, StructArray, Syscall, Sysret, Timespec, Version,
};

/// Offset and bytes of each field of `struct ktr_header`, except `ktr_len` and `ktr_type`.
const HEADER: &[(usize, &[u8])] = &[
    (6, &[1, 0]),                                    // ktr_version: KTR_VERSION1
    (8, &[0x39, 0x30, 0, 0]),                        // ktr_pid: 12345
    (12, b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), // ktr_comm[20]
    (32, &[0x15, 0xcd, 0x5b, 0x07, 0, 0, 0, 0]),     // ktr_time.tv_sec: 123456789
    (40, &[0xff, 0xc9, 0x9a, 0x3b, 0, 0, 0, 0]),     // ktr_time.tv_nsec: 999999999
    (48, &[0xa1, 0x86, 0x01, 0, 0, 0, 0, 0]),        // ktr_tid: 100001
    (56, &[3, 0, 0, 0]),                             // ktr_cpu: 3
    (60, &[0, 0, 0, 0]),                             // padding
];

fn header(drop: bool) -> Header {
    Header {
        len: 0,
        kind: Kind::Syscall,
        drop,
        pid: 12345,
        comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        time: Timespec { sec: 123_456_789, nsec: 999_999_999 },
        tid: 100_001,
        cpu: 3,
    }
}

/// Encodes `payload` over bytes of 0xff, and compares the result with a header of `ktr_type` and
/// `expected`. Then decodes the expected bytes.
fn check(payload: Payload<'_>, ktr_type: u16, expected: &[u8]) {
    let drop = ktr_type & 0x8000 != 0;
    let mut bytes = vec![0xff; HEADER_LEN + expected.len()];
    let record = Record { header: header(drop), payload };
    assert_eq!(record.encode(&mut bytes), Ok(bytes.len()));

    let mut whole = vec![0; HEADER_LEN];
    whole[..4].copy_from_slice(&(expected.len() as u32).to_le_bytes());
    whole[4..6].copy_from_slice(&ktr_type.to_le_bytes());
    for (offset, field) in HEADER {
        whole[*offset..offset + field.len()].copy_from_slice(field);
    }
    whole.extend(expected);
    assert_eq!(bytes, whole);

    let (decoded, rest) = Record::decode(&whole).expect("the expected bytes are a record");
    assert!(rest.is_empty());
    assert_eq!(decoded.payload, payload);
    let len = expected.len() as u32;
    assert_eq!(decoded.header, Header { len, kind: payload.kind(), ..header(drop) });
}

/// Returns `expected`, with zeroes appended up to `len`.
fn padded(expected: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = expected.to_vec();
    bytes.resize(len, 0);
    bytes
}

#[test]
fn syscall() {
    let args: &[u64] = &[0x0102_0304_0506_0708, u64::MAX];
    #[rustfmt::skip]
    let expected = [
        0xf3, 0x01, 2, 0, 0, 0, 0, 0, // ktr_code 499, ktr_narg 2, padding
        8, 7, 6, 5, 4, 3, 2, 1,       // ktr_args[0]
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    check(Payload::Syscall(Syscall { code: 499, args: args.into() }), 0x4001, &expected);
}

#[test]
fn syscall_without_arguments() {
    let none: &[u64] = &[];
    check(Payload::Syscall(Syscall { code: 20, args: none.into() }), 0x4001, &[20, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn sysret() {
    #[rustfmt::skip]
    let expected = [
        3, 0, 0, 0,                      // ktr_code 3, ktr_eosys
        0xfe, 0xff, 0xff, 0xff,          // ktr_error -2 (EJUSTRETURN)
        0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0x80, // ktr_retval
    ];
    let sysret = Sysret { code: 3, error: -2, retval: 0x8000_0000_1234_5678 };
    check(Payload::Sysret(sysret), 0x4002, &expected);
}

#[test]
fn namei() {
    check(Payload::Namei(b"/etc"), 0x4003, b"/etc");
}

#[test]
fn genio() {
    let genio = Genio { fd: 5, rw: 1, data: b"data" };
    check(Payload::Genio(genio), 0x4004, &[5, 0, 0, 0, 1, 0, 0, 0, b'd', b'a', b't', b'a']);
}

#[test]
fn psig() {
    #[rustfmt::skip]
    let expected = [
        15, 0, 0, 0, 0, 0, 0, 0,              // signo 15, padding
        0x40, 0x1a, 0x20, 0, 0, 0, 0, 0,      // action 0x201a40
        1, 0, 1, 0,                           // code 0x10001 (SI_USER)
        1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, // mask.__bits[4]
        0, 0, 0, 0,                           // padding
    ];
    let psig = Psig { signo: 15, action: 0x20_1a40, code: 0x1_0001, mask: [1, 2, 3, 4] };
    check(Payload::Psig(psig), 0x4005, &expected);
}

#[test]
fn csw() {
    let csw = Csw { out: true, user: false, wmesg: b"select" };
    check(Payload::Csw(csw), 0x4006, &[1, 0, 0, 0, 0, 0, 0, 0, b's', b'e', b'l', b'e', b'c', b't', 0, 0]);
}

#[test]
fn user() {
    check(Payload::User(&[0, 1, 0xff]), 0x4007, &[0, 1, 0xff]);
}

#[test]
fn structure() {
    check(Payload::Struct(Struct { name: b"stat", data: &[9, 8] }), 0x4008, b"stat\0\x09\x08");
}

#[test]
fn sysctl() {
    check(Payload::Sysctl(b"kern.ostype\0"), 0x4009, b"kern.ostype\0");
}

#[test]
fn procctor() {
    check(Payload::ProcCtor(ProcCtor { sv_flags: 0x0002_0009 }), 0x400a, &[9, 0, 2, 0]);
}

#[test]
fn procdtor() {
    check(Payload::ProcDtor, 0x400b, &[]);
}

#[test]
fn capfail_of_rights() {
    #[rustfmt::skip]
    let expected = [
        1, 0, 0, 0, 5, 0, 0, 0,                 // cap_type CAPFAIL_INCREASE, cap_code 5, padding
        9, 0, 2, 0, 0, 0, 0, 0,                 // cap_svflags, padding
        1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, // cap_needed
        3, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, // cap_held
    ];
    let needed = [0x0200_0000_0000_0001, 0x0400_0000_0000_0000];
    let held = [0x0200_0000_0000_0003, 0x0400_0000_0000_0000];
    let fail = CapFail { cap_type: 1, code: 5, svflags: 0x0002_0009, data: CapData::Rights { needed, held } };
    check(Payload::CapFail(fail), 0x400c, &padded(&expected, 1040));
}

#[test]
fn capfail_of_a_number() {
    let expected = [3, 0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff];
    let fail = CapFail { cap_type: 3, code: 37, svflags: 0, data: CapData::Int(-2) };
    check(Payload::CapFail(fail), 0x400c, &padded(&expected, 1040));
}

#[test]
fn capfail_of_an_address() {
    let address = [16, 2, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut expected = vec![5, 0, 0, 0, 98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    expected.extend(address);
    let fail = CapFail { cap_type: 5, code: 98, svflags: 0, data: CapData::Sockaddr(&address) };
    check(Payload::CapFail(fail), 0x400c, &padded(&expected, 1040));
}

#[test]
fn capfail_of_a_path() {
    let mut expected = vec![6, 0, 0, 0, 0xf3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    expected.extend(b"/etc");
    let fail = CapFail { cap_type: 6, code: 499, svflags: 0, data: CapData::Path(b"/etc") };
    check(Payload::CapFail(fail), 0x400c, &padded(&expected, 1040));
}

#[test]
fn capfail_of_nothing() {
    let fail = CapFail { cap_type: 7, code: 487, svflags: 0, data: CapData::None };
    check(Payload::CapFail(fail), 0x400c, &padded(&[7, 0, 0, 0, 0xe7, 1], 1040));
}

#[test]
fn fault() {
    let expected = [0, 0x10, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    check(Payload::Fault(Fault { vaddr: 0x1_0000_1000, fault_type: 2 }), 0x400d, &expected);
}

#[test]
fn faultend() {
    check(Payload::FaultEnd(FaultEnd { result: 5 }), 0x400e, &[5, 0, 0, 0]);
}

#[test]
fn struct_array() {
    let expected = b"\x04\0\0\0\0\0\0\0pollfd\0\x01\x02\x03\x04\x05\x06\x07\x08";
    let array = StructArray { struct_size: 4, name: b"pollfd", data: &[1, 2, 3, 4, 5, 6, 7, 8] };
    check(Payload::StructArray(array), 0x400f, expected);
}

#[test]
fn args_and_envs() {
    check(Payload::Args(b"ls\0-l\0"), 0x4010, b"ls\0-l\0");
    check(Payload::Envs(b"HOME=/\0"), 0x4011, b"HOME=/\0");
}

#[test]
fn exterr() {
    let exterr = Exterr {
        ver: 0x1001_0002,
        error: 22,
        cat: 2,
        src_line: 487,
        flags: 1,
        p: [0x1_0000_1000, 0x20],
        msg: b"bad length",
    };
    let mut expected = vec![2, 0, 1, 0x10, 22, 0, 0, 0, 2, 0, 0, 0, 0xe7, 1, 0, 0, 1, 0, 0, 0];
    expected.extend([0; 4]); // rsrv0
    expected.extend([0, 0x10, 0, 0, 1, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0; 32]); // rsrv1
    expected.extend(b"bad length");
    check(Payload::Exterr(exterr), 0x4012, &padded(&expected, 200));
}

#[test]
fn a_record_after_a_drop() {
    check(Payload::FaultEnd(FaultEnd { result: 0 }), 0xc00e, &[0; 4]);
}

/// Returns the `struct ktr_header_v0` of the same record as [`HEADER`], with `ktr_type` and without
/// `ktr_version`.
fn header_v0(ktr_type: u16) -> Vec<u8> {
    let mut bytes = vec![0; 56];
    bytes[0] = 4; // ktr_len
    bytes[4..6].copy_from_slice(&ktr_type.to_le_bytes());
    bytes[6..8].fill(0xff); // padding
    for (offset, field) in HEADER.iter().filter(|(offset, _)| (8..40).contains(offset)) {
        bytes[*offset..offset + field.len()].copy_from_slice(field);
    }
    bytes[40..48].copy_from_slice(&[0x3f, 0x42, 0x0f, 0, 0, 0, 0, 0]); // ktr_time.tv_usec: 999999
    bytes[48..56].copy_from_slice(&[0xa1, 0x86, 0x01, 0, 0, 0, 0, 0]); // ktr_tid: 100001
    bytes
}

#[test]
fn a_header_of_version_0() {
    let expected = AnyHeader {
        version: Version::V0,
        len: 4,
        ktr_type: 14,
        drop: true,
        pid: 12345,
        comm: header(false).comm,
        time: Timespec { sec: 123_456_789, nsec: 999_999_000 },
        tid: 100_001,
        cpu: None,
    };
    let bytes = header_v0(0x800e);
    assert_eq!(AnyHeader::decode(&bytes), Ok(expected));
    assert_eq!(AnyHeader::decode(&bytes[..55]), Err(DecodeError::Truncated));
    assert_eq!((Version::V0.header_len(), Version::V1.header_len()), (56, 64));
    // The module never writes a header of version 0.
    assert_eq!(Record::decode(&[bytes, vec![0; 12]].concat()), Err(DecodeError::Header));
}

#[test]
fn a_header_of_version_1_whose_numbers_make_no_sense() {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..4].fill(0xff);
    bytes[4..6].copy_from_slice(&0x7fff_u16.to_le_bytes());
    for (offset, field) in HEADER {
        bytes[*offset..offset + field.len()].copy_from_slice(field);
    }
    let found = AnyHeader::decode(&bytes).expect("the version is known");
    assert_eq!((found.version, found.len, found.ktr_type, found.drop), (Version::V1, -1, 0x3fff, false));
    assert_eq!((found.time.nsec, found.cpu), (999_999_999, Some(3)));
    assert_eq!(AnyHeader::decode(&bytes[..63]), Err(DecodeError::Truncated));
    bytes[6] = 2; // ktr_version
    assert_eq!(AnyHeader::decode(&bytes), Err(DecodeError::Header));
    assert_eq!(AnyHeader::decode(&bytes[..60]), Err(DecodeError::Header));
}

#[test]
fn microseconds_that_are_none_do_not_overflow() {
    let mut bytes = header_v0(1);
    bytes[40..48].fill(0x7f);
    assert_eq!(AnyHeader::decode(&bytes).map(|header| header.time.nsec), Ok(i64::MAX));
}
