//! Prints a trace file in the style of kdump(1), one line a record.

use std::fmt::Write as _;
use std::io::{self, Write};

use ktrace_format::{CapData, Header, Kind, Payload, Record, Records};

/// Prints the records of a trace file, which must all be whole.
pub(crate) fn print(file: &[u8], out: &mut impl Write) -> io::Result<()> {
    for record in Records::new(file) {
        writeln!(out, "{}", line(&record.expect("the file holds only whole records")))?;
    }
    Ok(())
}

/// Formats one record as one line, without the newline. A record behind dropped records is marked.
fn line(record: &Record<'_>) -> String {
    let Header { pid, comm, tid, drop, kind, .. } = record.header;
    let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default().escape_ascii().to_string();
    let dropped = if drop { "(events dropped before) " } else { "" };
    format!("{pid:6} {tid:6} {comm:<8} {}  {dropped}{}", label(kind), body(&record.payload))
        .trim_end()
        .to_owned()
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Syscall => "CALL",
        Kind::Sysret => "RET ",
        Kind::Namei => "NAMI",
        Kind::Genio => "GIO ",
        Kind::Psig => "PSIG",
        Kind::Csw => "CSW ",
        Kind::User => "USER",
        Kind::Struct | Kind::StructArray => "STRU",
        Kind::Sysctl => "SCTL",
        Kind::ProcCtor => "CTOR",
        Kind::ProcDtor => "DTOR",
        Kind::CapFail => "CAP ",
        Kind::Fault => "PFLT",
        Kind::FaultEnd => "PRET",
        Kind::Args => "ARGS",
        Kind::Envs => "ENVS",
        Kind::Exterr => "XERR",
    }
}

fn body(payload: &Payload<'_>) -> String {
    match payload {
        Payload::Syscall(call) => {
            let args: Vec<String> = call.args.iter().map(number).collect();
            format!("{}({})", syscall_name(call.code), args.join(","))
        }
        Payload::Sysret(ret) if ret.error != 0 => {
            format!("{} -1 errno {}", syscall_name(ret.code), ret.error)
        }
        Payload::Sysret(ret) => {
            let value = ret.retval.cast_signed();
            let hex = if (0..=9).contains(&value) { String::new() } else { format!("/{value:#x}") };
            format!("{} {value}{hex}", syscall_name(ret.code))
        }
        Payload::Namei(path) => format!("\"{}\"", path.escape_ascii()),
        Payload::Genio(genio) => {
            let way = if genio.rw == 0 { "read" } else { "wrote" };
            let len = genio.data.len();
            let s = if len == 1 { "" } else { "s" };
            format!("fd {} {way} {len} byte{s} \"{}\"", genio.fd, genio.data.escape_ascii())
        }
        Payload::Psig(psig) if psig.action == 0 => {
            format!("SIG {} SIG_DFL code={:#x}", psig.signo, psig.code)
        }
        Payload::Psig(psig) => format!(
            "SIG {} caught handler={:#x} mask={:#x} code={:#x}",
            psig.signo, psig.action, psig.mask[0], psig.code
        ),
        Payload::Csw(csw) => format!(
            "{} {} \"{}\"",
            if csw.out { "stop" } else { "resume" },
            if csw.user { "user" } else { "kernel" },
            csw.wmesg.escape_ascii()
        ),
        Payload::User(data) => format!("{}{}", data.len(), hex(data)),
        Payload::Struct(data) => {
            format!("struct {} {{ {} bytes }}", data.name.escape_ascii(), data.data.len())
        }
        Payload::Sysctl(name) => {
            format!("\"{}\"", name.strip_suffix(&[0]).unwrap_or(name).escape_ascii())
        }
        Payload::ProcCtor(ctor) => format!("sv_flags={:#x}", ctor.sv_flags),
        Payload::ProcDtor => String::new(),
        Payload::CapFail(fail) => {
            let what = match fail.data {
                CapData::None => "capability failure".to_owned(),
                CapData::Rights { needed, held } => {
                    format!("requires {:#x},{:#x}, holds {:#x},{:#x}", needed[0], needed[1], held[0], held[1])
                }
                CapData::Int(value) => format!("not allowed: {value}"),
                CapData::Sockaddr(address) => format!("restricted address lookup:{}", hex(address)),
                CapData::Path(path) => format!("restricted VFS lookup: {}", path.escape_ascii()),
            };
            format!("{}: {what} (type {})", syscall_name(fail.code), fail.cap_type)
        }
        Payload::Fault(fault) => format!("{:#x} {:#x}", fault.vaddr, fault.fault_type),
        Payload::FaultEnd(end) if end.result == 0 => "KERN_SUCCESS".to_owned(),
        Payload::FaultEnd(end) => format!("result {}", end.result),
        Payload::StructArray(array) => {
            format!(
                "struct {}[] {{ {} bytes, {} each }}",
                array.name.escape_ascii(),
                array.data.len(),
                array.struct_size
            )
        }
        Payload::Args(strings) | Payload::Envs(strings) => {
            let strings: Vec<String> = strings
                .split_inclusive(|byte| *byte == 0)
                .map(|string| format!("\"{}\"", string.strip_suffix(&[0]).unwrap_or(string).escape_ascii()))
                .collect();
            strings.join(" ")
        }
        Payload::Exterr(exterr) => format!(
            "errno {} category {} line {} ({:#x} {:#x}) {}",
            exterr.error,
            exterr.cat,
            exterr.src_line,
            exterr.p[0],
            exterr.p[1],
            exterr.msg.escape_ascii()
        ),
    }
}

fn number(value: u64) -> String {
    if value <= 9 { value.to_string() } else { format!("{value:#x}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, " {byte:02x}");
        text
    })
}

/// Returns the names of a few system calls (`sys/syscall.h`), and the number of any other.
fn syscall_name(code: i16) -> String {
    let name = match code {
        1 => "exit",
        2 => "fork",
        3 => "read",
        4 => "write",
        5 => "open",
        6 => "close",
        7 => "wait4",
        20 => "getpid",
        37 => "kill",
        39 => "getppid",
        45 => "ktrace",
        54 => "ioctl",
        59 => "execve",
        73 => "munmap",
        188 => "stat",
        202 => "__sysctl",
        240 => "nanosleep",
        335 => "utrace",
        477 => "mmap",
        499 => "openat",
        551 => "fstat",
        _ => return format!("[{code}]"),
    };
    name.to_owned()
}
