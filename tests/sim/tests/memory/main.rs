//! The engine's memory is bounded: blocks of the size of a segment are counted.

#[path = "../engine/allocator.rs"]
mod allocator;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use ktrace_engine::{BATCH_BYTES_MIN, Origin, QUEUE_LIMIT_MIN, SEGMENT_LEN};
use ktrace_format::{Fault, Payload};
use ktrace_sim::interleave::{self, Point};
use ktrace_sim::memory::live_segments;
use ktrace_sim::{Disk, Engine, File, Inherit, MaySleep, System, Trace, context};

/// The number of segments of a queue's own, while others are written, and after.
const OWN: usize = 4;

/// The number of faults that a stream of the smallest size has room for.
const FILL_STREAM: u64 = (BATCH_BYTES_MIN + BATCH_BYTES_MIN / 8) as u64 / 80;

/// Makes the tests run one at a time, because all blocks are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fault(trace: &Trace, number: u64) {
    let origin = Origin { pid: 1, tid: 1, comm: [0; 20] };
    let payload = Payload::Fault(Fault { vaddr: number, fault_type: 1 });
    context::sleepless(|| trace.enqueue(&origin, None, &payload));
}

#[test]
fn a_queue_that_is_always_full() {
    let _alone = alone();
    let before = live_segments();
    for segments in [1, 2, 8, 32] {
        let engine = Arc::new(Engine::new());
        engine.settings.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
        engine.settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
        let disk = Disk::new();
        let file = File::new(MaySleep::new(), Arc::clone(&engine), disk.open());
        let trace = Trace::new(Arc::clone(&engine), MaySleep::new());
        assert!(trace.set_file(Some(file)).is_none(), "a new trace has a file");
        let most = Rc::new(Cell::new(0));
        let (hooked, seen) = (Arc::clone(&trace), Rc::clone(&most));
        // Other threads fill the queue completely while a file is written.
        let hook = move |point| {
            if point == Point::Append {
                (0..FILL_STREAM + 60).for_each(|number| fault(&hooked, number));
            }
            seen.set(seen.get().max(live_segments() - before));
        };
        interleave::with(hook, || {
            for _ in 0..20 {
                (0..FILL_STREAM + 60 * segments as u64).for_each(|number| fault(&trace, number));
                assert!(trace.drain(MaySleep::new()).is_empty(), "the file can be written");
            }
        });
        let (most, bound) = (most.get(), 2 * segments + OWN + 2 * segments);
        assert!(most <= bound, "{most} segments at once, with a limit of {segments}");
        let file = trace.set_file(None).expect("it is still traced");
        assert!(trace.flush(MaySleep::new(), &file).is_empty(), "the file can be written");
        drop((trace, file));
        drop(disk);
        assert_eq!(live_segments(), before, "segments are left");
    }
}

#[test]
fn a_load_of_threads() {
    let _alone = alone();
    const PROCESSES: usize = 4;
    const THREADS: usize = 3;
    let before = live_segments();
    {
        let (system, disk) = (System::boot(), Disk::new());
        let settings = &system.engine().settings;
        settings.set_queue_limit(QUEUE_LIMIT_MIN).expect("the limit is in range");
        settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
        let mut threads = Vec::new();
        for _ in 0..PROCESSES {
            let first = system.spawn("memory");
            first.trace_self(0x00ff_ffff, Inherit::No, &system.open(disk.open()));
            threads.extend((1..THREADS).map(|_| first.spawn()));
            threads.push(first);
        }
        let most = thread::scope(|scope| {
            let running: Vec<_> = threads
                .into_iter()
                .map(|thread| {
                    scope.spawn(move || {
                        for call in 0..50 {
                            thread.syscall(20, &[], |td| {
                                (0..80).for_each(|number| td.fault(number, 1));
                                Ok(call)
                            });
                        }
                        thread.exit();
                    })
                })
                .collect();
            let mut most = 0;
            while running.iter().any(|thread| !thread.is_finished()) {
                most = most.max(live_segments() - before);
                thread::yield_now();
            }
            most
        });
        let bound = PROCESSES * (2 * QUEUE_LIMIT_MIN / SEGMENT_LEN + OWN) + 2 * QUEUE_LIMIT_MIN / SEGMENT_LEN;
        assert!(most <= bound, "{most} segments at once in {PROCESSES} processes");
    }
    assert_eq!(live_segments(), before, "segments are left");
}
