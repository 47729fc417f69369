//! Two processes of two threads each, without a scheduler: Miri finds races here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use ktrace_doubles::{MaySleep, decode};
use ktrace_engine::{Origin, Synchronous};
use ktrace_format::{Fault, Kind, Payload};

use crate::host::{Disk, Trace};
use crate::trace_file::{assert_settled, count, dropped};
use crate::traced::{engine_of_queues, open};

const RECORDS: u64 = 12;

/// Makes records of both kinds, whose numbers rise, and drains the process.
fn run(trace: &Trace, pid: i32, tid: i64) {
    let origin = Origin { pid, tid, comm: [0; 20] };
    for number in 0..RECORDS {
        if number % 3 == 0 {
            let payload = Payload::Fault(Fault { vaddr: number, fault_type: 1 });
            trace.enqueue(&origin, None, &payload);
        } else {
            // Five of them fill a stream.
            let mut data = [0; 1500];
            data[..8].copy_from_slice(&number.to_ne_bytes());
            let payload = Payload::User(&data);
            let (_, failures) = trace.commit(MaySleep::new(), &origin, Synchronous::payload(&payload));
            assert!(failures.is_empty());
        }
        assert!(trace.drain(MaySleep::new()).is_empty());
    }
}

#[test]
fn nothing_is_lost_and_each_thread_keeps_its_order() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let file = open(&engine, disk.open());
    let traces = [(); 2].map(|()| Trace::new(Arc::clone(&engine), MaySleep::new()));
    thread::scope(|scope| {
        for (pid, trace) in (1..).zip(&traces) {
            trace.stock(MaySleep::new(), &file);
            assert!(trace.set_file(Some(Arc::clone(&file))).is_none(), "a new trace has a file");
            for tid in [10 * i64::from(pid), 10 * i64::from(pid) + 1] {
                scope.spawn(move || run(trace, pid, tid));
            }
        }
    });
    for trace in &traces {
        let file = trace.set_file(None).expect("it is traced");
        assert!(trace.flush(MaySleep::new(), &file).is_empty());
    }
    let content = disk.content();
    let records = decode(&content);
    assert_settled(&engine, &count(&records));
    assert_eq!((records.len() as u64, dropped(&engine, Kind::Fault)), (4 * RECORDS, 0));
    let mut last = BTreeMap::new();
    for record in &records {
        let number = match record.payload {
            Payload::Fault(fault) => fault.vaddr,
            Payload::User(data) => u64::from_ne_bytes(*data.first_chunk().expect("a number")),
            other => panic!("nobody made {other:?}"),
        };
        let before = last.insert(record.header.tid, number);
        assert!(before.is_none_or(|before| before < number), "thread {} out of order", record.header.tid);
    }
}
