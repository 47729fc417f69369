//! Benchmarks of a record's cost between the trace point and the write.
//!
//! A record is committed at once, or queued and drained. Writes cost nothing here.

mod platform;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use ktrace_engine::{Engine, Origin, ProcTrace, Synchronous, TraceFile};
use ktrace_format::{Csw, Payload, Sysret};

use platform::{Bare, Nowhere};

/// Maximum number of queued records, below the capacity of a new queue.
const QUEUED: u64 = 256;

const SWITCH: Payload<'_> = Payload::Csw(Csw { out: true, user: false, wmesg: b"nanslp" });
const RETURN: Payload<'_> = Payload::Sysret(Sysret { code: 3, error: 0, retval: 4096 });

const ORIGIN: Origin = Origin { pid: 100, tid: 100_100, comm: *b"bench\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" };

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    commit(&mut criterion);
    enqueue(&mut criterion);
    drain(&mut criterion);
    criterion.final_summary();
}

fn commit(criterion: &mut Criterion) {
    let trace = traced();
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a sysret", |bencher| {
        bencher.iter(|| trace.commit((), &ORIGIN, Synchronous::payload(&RETURN)));
    });
    group.finish();
    end(&trace);
}

fn enqueue(criterion: &mut Criterion) {
    let trace = traced();
    let mut group = criterion.benchmark_group("enqueue");
    group.throughput(Throughput::Elements(QUEUED));
    group.bench_function(format!("{QUEUED} context switches"), |bencher| {
        bencher.iter_batched(|| empty(&trace), |()| fill(&trace, QUEUED), BatchSize::PerIteration);
    });
    group.finish();
    end(&trace);
}

fn drain(criterion: &mut Criterion) {
    let trace = traced();
    let mut group = criterion.benchmark_group("drain");
    for count in [1, 16, QUEUED] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} context switches"), |bencher| {
            bencher.iter_batched(|| fill(&trace, count), |()| empty(&trace), BatchSize::PerIteration);
        });
    }
    group.finish();
    end(&trace);
}

/// Creates the trace of a traced process.
fn traced() -> Arc<ProcTrace<Bare>> {
    let engine = Arc::new(Engine::new());
    let trace = ProcTrace::new(Arc::clone(&engine), ());
    let file = TraceFile::new((), engine, Nowhere);
    trace.stock((), &file);
    drop(trace.set_file(Some(file)));
    trace
}

fn fill(trace: &ProcTrace<Bare>, count: u64) {
    for _ in 0..count {
        trace.enqueue(&ORIGIN, None, &SWITCH);
    }
}

fn empty(trace: &ProcTrace<Bare>) {
    let Some(file) = trace.file() else { return };
    assert!(trace.flush((), &file).is_empty(), "a write failed");
}

fn end(trace: &ProcTrace<Bare>) {
    let Some(file) = trace.set_file(None) else { return };
    assert!(trace.flush((), &file).is_empty(), "a write failed");
}
