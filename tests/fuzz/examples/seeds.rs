//! Writes the seed corpora: `cargo run -p ktrace-fuzz --example seeds`.

use std::fs;
use std::path::Path;

use ktrace_format::{
    CapData, CapFail, Csw, Fault, FaultEnd, Genio, HEADER_LEN, HEADER_V0_LEN, Header, Kind, Payload,
    ProcCtor, Psig, Record, Struct, StructArray, Syscall, Sysret, Timespec,
};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let _ = fs::remove_dir_all(&corpus);
    fs::create_dir(&corpus)?;
    let args: &[u64] = &[u64::MAX - 99, 0x2000_1000, 0, 0];
    write(&corpus, "", Payload::Syscall(Syscall { code: 499, args: args.into() }))?;
    write(&corpus, "", Payload::Sysret(Sysret { code: 499, error: 2, retval: 0 }))?;
    write(&corpus, "", Payload::Namei(b"/etc/passwd"))?;
    write(&corpus, "", Payload::Genio(Genio { fd: 3, rw: 0, data: b"root:*:0:0:" }))?;
    write(&corpus, "", Payload::Psig(Psig { signo: 20, action: 0x20_1a40, code: 0x1_0001, mask: [1; 4] }))?;
    write(&corpus, "", Payload::Csw(Csw { out: true, user: false, wmesg: b"biord" }))?;
    write(&corpus, "", Payload::User(b"hello"))?;
    write(&corpus, "", Payload::Struct(Struct { name: b"stat", data: &[1; 32] }))?;
    write(&corpus, "", Payload::Sysctl(b"kern.ostype\0"))?;
    write(&corpus, "", Payload::ProcCtor(ProcCtor { sv_flags: 0x0002_0009 }))?;
    write(&corpus, "", Payload::ProcDtor)?;
    write(&corpus, "", Payload::Fault(Fault { vaddr: 0x2000_3000, fault_type: 2 }))?;
    write(&corpus, "", Payload::FaultEnd(FaultEnd { result: 0 }))?;
    let array = StructArray { struct_size: 8, name: b"pollfd", data: &[2; 24] };
    write(&corpus, "", Payload::StructArray(array))?;
    for (name, cap_type, data) in [
        ("-rights", 0, CapData::Rights { needed: [1, 2], held: [3, 4] }),
        ("-int", 2, CapData::Int(20)),
        ("-sockaddr", 5, CapData::Sockaddr(&[16, 2, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("-path", 6, CapData::Path(b"/etc/passwd")),
        ("-none", 7, CapData::None),
    ] {
        write(&corpus, name, Payload::CapFail(CapFail { cap_type, code: 5, svflags: 9, data }))?;
    }
    write_traces()
}

/// Writes a record into one file, and all but its last byte into another.
fn write(corpus: &Path, variant: &str, payload: Payload<'_>) -> std::io::Result<()> {
    let bytes = record(variant == "-path", payload);
    let name = payload.kind().name();
    fs::write(corpus.join(format!("{name}{variant}")), &bytes)?;
    fs::write(corpus.join(format!("{name}{variant}.cut")), &bytes[..bytes.len() - 1])
}

/// Writes traces for ktrcheck: whole, and with each thing wrong that it looks for.
fn write_traces() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus-ktrcheck");
    let _ = fs::remove_dir_all(&corpus);
    fs::create_dir(&corpus)?;
    let args: &[u64] = &[3, 0x2000_1000, 11];
    let ctor = record(false, Payload::ProcCtor(ProcCtor { sv_flags: 0x0002_0009 }));
    let call = record(false, Payload::Syscall(Syscall { code: 3, args: args.into() }));
    let data = record(false, Payload::Genio(Genio { fd: 3, rw: 0, data: b"root:*:0:0:" }));
    let ret = record(false, Payload::Sysret(Sysret { code: 3, error: 0, retval: 11 }));
    let dropped = record(true, Payload::User(b"hello"));
    let whole = [ctor.as_slice(), &call, &data, &ret, &call, &ret].concat();
    let old: Vec<u8> = [&ctor, &call, &data, &ret].into_iter().flat_map(|record| version_0(record)).collect();
    let damage = [0xff; 70];
    for (name, trace) in [
        ("whole", whole.clone()),
        ("version-0", old.clone()),
        ("both-versions", [old, whole.clone()].concat()),
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("damaged", [whole.as_slice(), &damage, &whole].concat()),
        ("zeroes", [whole.as_slice(), &[0; 300], &whole].concat()),
        ("too-long", [ctor.as_slice(), &with(&data, 0, 100), &ret, &call, &ret].concat()),
        ("other-type", [ctor.as_slice(), &with(&data, 4, 18), &call, &ret].concat()),
        ("older", [ctor.as_slice(), &call, &with(&ret, 32, 0)].concat()),
        ("calls", [call.as_slice(), &call, &ret, &ret].concat()),
        ("dropped", [call.as_slice(), &dropped, &call, &ret].concat()),
    ] {
        fs::write(corpus.join(name), trace)?;
    }
    Ok(())
}

/// The record under a header of `KTR_VERSION0`.
fn version_0(record: &[u8]) -> Vec<u8> {
    let mut old = with(&with(record, 5, 0), 6, 0);
    old[40..48].copy_from_slice(&999_999_u64.to_ne_bytes());
    old.drain(HEADER_V0_LEN..HEADER_LEN);
    old
}

/// The record with another byte at `offset`.
fn with(record: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut record = record.to_vec();
    record[offset] = byte;
    record
}

/// A record with any header.
fn record(drop: bool, payload: Payload<'_>) -> Vec<u8> {
    let header = Header {
        len: 0,
        kind: Kind::User,
        drop,
        pid: 12345,
        comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        time: Timespec { sec: 123_456_789, nsec: 999_999_999 },
        tid: 100_001,
        cpu: 3,
    };
    let mut bytes = vec![0; Record::encoded_len(&payload)];
    Record { header, payload }.encode(&mut bytes).expect("the record is small");
    bytes
}
