//! Property tests over random traces.

use ktrace_format::{
    CapData, CapFail, Csw, Exterr, Fault, FaultEnd, Genio, Payload, ProcCtor, Psig, Struct, StructArray,
    Version,
};
use ktrcheck::What;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::trace::Trace;

/// A step of a thread: the thread, the record, the header version, and the data.
type Step = (usize, usize, bool, Vec<u8>);

const THREADS: [(i32, i64); 4] = [(845, 100_123), (845, 100_124), (846, 100_200), (99_999, 100_300)];

/// Generates a whole trace of at least one record.
fn any_trace() -> impl Strategy<Value = Trace> {
    let data = prop_oneof![9 => vec(any::<u8>(), 0..60), 1 => vec(any::<u8>(), 0..5000)];
    vec((0..THREADS.len(), 0..17_usize, any::<bool>(), data), 1..20).prop_map(|steps| {
        let mut trace = Trace::new();
        let mut calls = [None; THREADS.len()];
        for step in steps {
            add(&mut trace, &mut calls, &step);
        }
        trace
    })
}

fn add(trace: &mut Trace, calls: &mut [Option<i16>; THREADS.len()], (thread, what, old, data): &Step) {
    trace.version = if *old { Version::V0 } else { Version::V1 };
    let (call, thread) = (&mut calls[*thread], THREADS[*thread]);
    let text: Vec<u8> = data.iter().map(|byte| *byte | 1).take(1023).collect();
    let short = &text[..text.len().min(7)];
    let payload = match what {
        0 => Payload::Namei(&text),
        1 => Payload::Genio(Genio { fd: 3, rw: 1, data }),
        2 => Payload::Psig(Psig { signo: 20, action: 0, code: 1, mask: [1; 4] }),
        3 => Payload::Csw(Csw { out: true, user: false, wmesg: short }),
        4 => Payload::User(&data[..data.len().min(2048)]),
        5 => Payload::Struct(Struct { name: short, data }),
        6 => Payload::Sysctl(b"kern.ostype\0"),
        7 => Payload::ProcCtor(ProcCtor { sv_flags: 9 }),
        8 => {
            let data = CapData::Path(&text);
            Payload::CapFail(CapFail { cap_type: 6, code: 5, svflags: 0, data })
        }
        9 => Payload::Fault(Fault { vaddr: 0x2000_0000, fault_type: 2 }),
        10 => Payload::FaultEnd(FaultEnd { result: 0 }),
        11 => Payload::StructArray(StructArray { struct_size: 8, name: short, data }),
        12 => Payload::Args(data),
        13 => Payload::Envs(data),
        14 => Payload::Exterr(Exterr {
            ver: 1,
            error: 22,
            cat: 4,
            src_line: 170,
            flags: 0,
            p: [1, 2],
            msg: short,
        }),
        _ => {
            let code = data.first().map_or(3, |byte| i16::from(*byte));
            match call.take() {
                Some(code) => trace.ret(thread, code),
                None => {
                    *call = Some(code);
                    trace.call(thread, code)
                }
            };
            return;
        }
    };
    trace.record(thread, payload);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_records_are_a_whole_trace(trace in any_trace()) {
        let (found, summary) = trace.check();
        prop_assert_eq!(found, []);
        prop_assert_eq!(summary.records, trace.offsets.len() as u64);
        let by_process: u64 =
            summary.processes.values().flat_map(|process| process.records.iter()).map(|(_, count)| count).sum();
        prop_assert_eq!(by_process, summary.records);
    }

    #[test]
    fn a_cut_is_found_where_it_is(trace in any_trace(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(trace.bytes.len());
        let before = trace.offsets.iter().filter(|at| **at < cut).count();
        let short = Trace { bytes: trace.bytes[..cut].to_vec(), ..trace.clone() };
        let (found, summary) = short.check();
        if trace.offsets.contains(&cut) {
            prop_assert_eq!(found, if cut == 0 { vec![(0, What::Empty)] } else { vec![] });
            prop_assert_eq!(summary.records, before as u64);
        } else {
            prop_assert_eq!(found, [(trace.offsets[before - 1] as u64, What::CutOff)]);
            prop_assert_eq!(summary.records, before as u64 - 1);
        }
    }

    #[test]
    fn a_header_that_is_gone_takes_its_record_only(trace in any_trace(), which in any::<prop::sample::Index>(), with in any::<bool>()) {
        let (mut trace, which) = (trace.clone(), which.index(trace.offsets.len()));
        let at = trace.offsets[which];
        trace.bytes[at..at + 56].fill(if with { 0xff } else { 0 });
        let (found, summary) = trace.check();
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert_eq!(found[0].0, at as u64);
        let behind = trace.offsets.get(which + 1).map(|next| *next as u64);
        prop_assert!(matches!(found[0].1, What::NotARecord { next, .. } if next == behind), "{:?}", found);
        prop_assert_eq!(summary.records, trace.offsets.len() as u64 - 1);
    }

    #[test]
    fn a_byte_that_is_changed_hides_no_other_record(trace in any_trace(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let (mut trace, which) = (trace.clone(), which.index(trace.offsets.len()));
        // The length is left alone: a changed one may lead past a record to the next.
        let start = trace.offsets[which] + 4;
        let end = trace.offsets.get(which + 1).copied().unwrap_or(trace.bytes.len());
        trace.bytes[start + at.index(end - start)] ^= with;
        let (found, summary) = trace.check();
        prop_assert!(summary.records + 1 >= trace.offsets.len() as u64, "{:?}", found);
        prop_assert!(found.iter().all(|(offset, _)| *offset >= start as u64 - 4));
    }

    #[test]
    fn bytes_between_records_hide_none(trace in any_trace(), which in any::<prop::sample::Index>(), bytes in vec(1..=255_u8, 1..3000)) {
        let (mut trace, which) = (trace.clone(), which.index(trace.offsets.len()));
        let at = trace.offsets[which];
        trace.bytes.splice(at..at, bytes.iter().copied());
        let (found, summary) = trace.check();
        prop_assert_eq!(found.len(), 1, "{:?}", found);
        prop_assert_eq!(found[0].0, at as u64);
        let behind = (at + bytes.len()) as u64;
        prop_assert!(matches!(found[0].1, What::NotARecord { next, .. } if next == Some(behind)), "{:?}", found);
        prop_assert_eq!(summary.records, trace.offsets.len() as u64);
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes in vec(any::<u8>(), 0..3000)) {
        let trace = Trace { bytes, ..Trace::new() };
        prop_assert_eq!(trace.check().0.len(), 1);
    }
}
