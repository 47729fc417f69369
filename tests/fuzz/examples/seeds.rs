//! Writes the seed corpus: `cargo run -p ktrace-fuzz --example seeds`.

use std::fs;
use std::path::Path;

use ktrace_format::{
    CapData, CapFail, Csw, Fault, FaultEnd, Genio, Header, Kind, Payload, ProcCtor, Psig, Record, Struct,
    StructArray, Syscall, Sysret, Timespec,
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
    Ok(())
}

/// Writes a record into one file, and all but its last byte into another.
fn write(corpus: &Path, variant: &str, payload: Payload<'_>) -> std::io::Result<()> {
    let header = Header {
        len: 0,
        kind: Kind::User,
        drop: variant == "-path",
        pid: 12345,
        comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        time: Timespec { sec: 123_456_789, nsec: 999_999_999 },
        tid: 100_001,
        cpu: 3,
    };
    let mut bytes = vec![0; Record::encoded_len(&payload)];
    Record { header, payload }.encode(&mut bytes).expect("the record is small");
    let name = payload.kind().name();
    fs::write(corpus.join(format!("{name}{variant}")), &bytes)?;
    fs::write(corpus.join(format!("{name}{variant}.cut")), &bytes[..bytes.len() - 1])
}
