//! Records of every type with arbitrary contents.

use ktrace_format::{
    CapData, CapFail, Csw, EXTERR_MSG_LEN, Exterr, Fault, FaultEnd, Genio, Header, Kind, MAXCOMLEN,
    MAXPATHLEN, Payload, ProcCtor, Psig, Record, Struct, StructArray, Syscall, Sysret, Timespec, WMESGLEN,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// The parts of a payload. The payload's type determines which fields are used.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    code: i16,
    number: i32,
    flags: u32,
    long: u64,
    words: [u64; 4],
    flag: (bool, bool),
    /// Any bytes.
    data: Vec<u8>,
    /// Bytes without a NUL.
    text: Vec<u8>,
    args: Vec<u64>,
    cap_type: u32,
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    // Most are short, some as long as a path can be.
    prop_oneof![9 => vec(1..=255_u8, 0..20), 1 => vec(1..=255_u8, 0..MAXPATHLEN)]
}

pub(crate) fn any_kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
}

pub(crate) fn any_parts() -> impl Strategy<Value = Parts> {
    let numbers =
        (any::<i16>(), any::<i32>(), any::<u32>(), any::<u64>(), any::<[u64; 4]>(), any::<(bool, bool)>());
    let cap_type = prop_oneof![0..9_u32, any::<u32>()];
    (any_kind(), numbers, vec(any::<u8>(), 0..200), any_text(), vec(any::<u64>(), 0..20), cap_type).prop_map(
        |(kind, (code, number, flags, long, words, flag), data, text, args, cap_type)| Parts {
            kind,
            code,
            number,
            flags,
            long,
            words,
            flag,
            data,
            text,
            args,
            cap_type,
        },
    )
}

pub(crate) fn any_header() -> impl Strategy<Value = Header> {
    let comm = vec(1..=255_u8, 0..=MAXCOMLEN);
    (any::<bool>(), any::<(i32, i64, i32)>(), comm, any::<(i64, i64)>()).prop_map(
        |(drop, (pid, tid, cpu), name, (sec, nsec))| {
            let mut comm = [0; MAXCOMLEN + 1];
            comm[..name.len()].copy_from_slice(&name);
            // Length and type are taken from the payload.
            Header { len: 0, kind: Kind::User, drop, pid, comm, time: Timespec { sec, nsec }, tid, cpu }
        },
    )
}

impl Parts {
    /// Returns the payload, cut where a value is longer than its field.
    pub(crate) fn payload(&self) -> Payload<'_> {
        match self.kind {
            Kind::Syscall => Payload::Syscall(Syscall { code: self.code, args: self.args.as_slice().into() }),
            Kind::Sysret => {
                Payload::Sysret(Sysret { code: self.code, error: self.number, retval: self.long })
            }
            Kind::Namei => Payload::Namei(&self.text),
            Kind::Genio => Payload::Genio(Genio { fd: self.number, rw: self.flags, data: &self.data }),
            Kind::Psig => Payload::Psig(Psig {
                signo: self.number,
                action: self.long,
                code: i32::from(self.code),
                mask: self.words.map(|word| word as u32),
            }),
            Kind::Csw => Payload::Csw(Csw {
                out: self.flag.0,
                user: self.flag.1,
                wmesg: &self.text[..self.text.len().min(WMESGLEN - 1)],
            }),
            Kind::User => Payload::User(&self.data),
            Kind::Struct => Payload::Struct(Struct { name: &self.text, data: &self.data }),
            Kind::Sysctl => Payload::Sysctl(&self.data),
            Kind::ProcCtor => Payload::ProcCtor(ProcCtor { sv_flags: self.flags }),
            Kind::ProcDtor => Payload::ProcDtor,
            Kind::CapFail => Payload::CapFail(CapFail {
                cap_type: self.cap_type,
                code: self.code,
                svflags: self.flags,
                data: self.cap_data(),
            }),
            Kind::Fault => Payload::Fault(Fault { vaddr: self.long, fault_type: self.number }),
            Kind::FaultEnd => Payload::FaultEnd(FaultEnd { result: self.number }),
            Kind::StructArray => Payload::StructArray(StructArray {
                struct_size: self.long,
                name: &self.text,
                data: &self.data,
            }),
            Kind::Args => Payload::Args(&self.data),
            Kind::Envs => Payload::Envs(&self.data),
            Kind::Exterr => Payload::Exterr(Exterr {
                ver: self.flags,
                error: self.number.cast_unsigned(),
                cat: self.cap_type,
                src_line: u32::from(self.code.cast_unsigned()),
                flags: !self.flags,
                p: [self.long, self.words[0]],
                msg: &self.text[..self.text.len().min(EXTERR_MSG_LEN - 1)],
            }),
        }
    }

    /// Returns the data for the type of the failed check (`enum ktr_cap_violation`).
    fn cap_data(&self) -> CapData<'_> {
        let [a, b, c, d] = self.words;
        match self.cap_type {
            0 | 1 => CapData::Rights { needed: [a, b], held: [c, d] },
            2..=4 => CapData::Int(self.number),
            // Sixteen bytes: decoded, an address is a whole struct sockaddr.
            5 => CapData::Sockaddr(self.data.first_chunk::<16>().unwrap_or(&[7; 16])),
            6 => CapData::Path(&self.text[..self.text.len().min(MAXPATHLEN - 1)]),
            _ => CapData::None,
        }
    }
}

/// Returns the record's bytes, written over bytes that were 0xff.
pub(crate) fn encoded(header: Header, payload: Payload<'_>) -> Vec<u8> {
    let mut bytes = vec![0xff; Record::encoded_len(&payload)];
    assert_eq!(Record { header, payload }.encode(&mut bytes), Ok(bytes.len()));
    bytes
}
