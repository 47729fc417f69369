//! Benchmarks of encoding a record, by type and size.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use ktrace_format::{Csw, Genio, Header, Kind, Payload, Record, Syscall, Sysret, Timespec};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    encode(&mut criterion);
    criterion.final_summary();
}

fn encode(criterion: &mut Criterion) {
    let args: &[u64] = &[3, 0x7fff_ffff_e000, 4096];
    let data = [7; 4096];
    let payloads = [
        ("syscall", Payload::Syscall(Syscall { code: 3, args: args.into() })),
        ("sysret", Payload::Sysret(Sysret { code: 3, error: 0, retval: 4096 })),
        ("csw", Payload::Csw(Csw { out: true, user: false, wmesg: b"nanslp" })),
        ("namei", Payload::Namei(b"/usr/share/misc/termcap.db")),
        ("genio of 4 KiB", Payload::Genio(Genio { fd: 3, rw: 0, data: &data })),
    ];
    let mut group = criterion.benchmark_group("encode");
    for (name, payload) in payloads {
        let record = Record { header: header(payload.kind()), payload };
        let mut out = vec![0; Record::encoded_len(&payload)];
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&record).encode(black_box(&mut out))));
    }
    group.finish();
}

fn header(kind: Kind) -> Header {
    Header {
        len: 0,
        kind,
        drop: false,
        pid: 100,
        comm: *b"bench\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        time: Timespec { sec: 1, nsec: 2 },
        tid: 100_100,
        cpu: 0,
    }
}
