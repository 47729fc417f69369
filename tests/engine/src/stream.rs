//! The stream of a file: when gathered records are written, and by which thread.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ktrace_doubles::moment::{Moment, at};
use ktrace_doubles::{MaySleep, clock, decode};
use ktrace_engine::{BATCH_BYTES_MIN, Pending, Policy};
use ktrace_format::{Csw, Payload, ProcCtor, Record, Sysret, Timespec};

use crate::host::{Disk, Engine};
use crate::trace_file::assert_time_order;
use crate::traced::{Traced, engine_of_queues, engine_of_records, open};

const PATH: Payload<'_> = Payload::Namei(b"/");

/// Creates a traced process with a latency of 100 ms. The clock stands still except for
/// `clock::advance`.
fn with_latency(disk: &Arc<Disk>) -> (Arc<Engine>, Traced) {
    clock::set(Duration::new(1_000_000_000, 999_000_000));
    let engine = Arc::new(Engine::new());
    engine.settings.set_latency(100).expect("the latency is in range");
    let traced = Traced::to(&engine, 1, disk.open());
    (engine, traced)
}

#[test]
fn a_batch_is_due_when_half_of_the_latency_is_over() {
    let disk = Disk::new();
    let (_engine, traced) = with_latency(&disk);
    for _ in 0..3 {
        let before = disk.appends();
        assert_eq!(traced.commit(&PATH), Ok(()));
        clock::advance(Duration::from_millis(49));
        assert_eq!(traced.commit(&PATH), Ok(()));
        assert_eq!(disk.appends(), before, "there is time left");
        clock::advance(Duration::from_millis(1));
        assert_eq!(traced.commit(&PATH), Ok(()));
        assert_eq!(disk.appends(), before + 1);
    }
    assert_eq!(decode(&disk.content()).len(), 9);
}

#[test]
fn a_drain_writes_what_is_due_and_nothing_else() {
    let disk = Disk::new();
    let (_engine, traced) = with_latency(&disk);
    assert_eq!(traced.pending_fault(1), Pending::Nothing);
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(disk.appends(), 0);
    clock::advance(Duration::from_millis(50));
    assert_eq!(traced.pending_fault(2), Pending::Drain);
    assert_eq!(traced.drain(), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 2);
}

#[test]
fn the_return_from_a_system_call_writes_what_is_before_it() {
    let disk = Disk::new();
    let (engine, traced) = with_latency(&disk);
    engine.settings.set_policy(Policy::Return);
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert_eq!(traced.pending_fault(1), Pending::Drain);
    assert_eq!(disk.appends(), 0);
    assert_eq!(traced.commit(&Payload::Sysret(Sysret { code: 1, error: 0, retval: 0 })), Ok(()));
    assert_eq!((disk.appends(), decode(&disk.content()).len()), (1, 3));
}

/// A context switch that the kernel reports when the thread runs again.
const STOP: Payload<'_> = Payload::Csw(Csw { out: true, user: false, wmesg: b"nanslp" });

/// Returns the time of the last record in the file.
fn last_time(disk: &Disk) -> Timespec {
    decode(&disk.content()).last().expect("a record").header.time
}

#[test]
fn a_record_has_the_time_that_the_kernel_has_noted() {
    for (engine, queues) in [(engine_of_records(), false), (engine_of_queues(), true)] {
        clock::set(Duration::new(1_000_000_000, 999_000_000));
        let disk = Disk::new();
        let traced = Traced::new(&engine, 1);
        let before = clock::last_reading();
        clock::advance(Duration::from_secs(1));
        traced.set(&open(&engine, disk.open()));
        let began = clock::last_reading();
        if queues {
            traced.fill_stream();
        }
        let noted = clock::last_reading();
        clock::advance(Duration::from_secs(2));
        let now = clock::last_reading();
        let later = Timespec { sec: now.sec + 1, ..now };
        for (time, kept) in [
            (Some(noted), true),
            (Some(began), true),
            (Some(before), false),
            (Some(later), false),
            (None, false),
        ] {
            assert_eq!(traced.pending_noted(time, &STOP), Pending::Drain);
            let made = Some(clock::last_reading());
            assert_eq!(traced.drain(), Ok(()));
            assert_eq!(Some(last_time(&disk)), if kept { time } else { made }, "{time:?}, queued: {queues}");
            if queues {
                traced.fill_stream();
            }
        }
    }
}

#[test]
fn a_thread_that_slept_when_tracing_began_is_not_older_than_that() {
    for (engine, queues) in [(engine_of_records(), false), (engine_of_queues(), true)] {
        clock::set(Duration::new(1_000_000_000, 0));
        let disk = Disk::new();
        let traced = Traced::to(&engine, 1, disk.open());
        if queues {
            traced.fill_stream();
        }
        // The thread has found that it is traced, and sleeps. Only then does the tracing thread
        // make its record.
        let noted = clock::last_reading();
        traced.pending(&Payload::ProcCtor(ProcCtor { sv_flags: 0 }));
        traced.pending_noted(Some(noted), &STOP);
        assert_eq!(traced.drain(), Ok(()));
        let times: Vec<_> = decode(&disk.content()).iter().map(|record| record.header.time).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}

#[test]
fn a_noted_time_does_not_make_a_batch_due() {
    let disk = Disk::new();
    let (_engine, traced) = with_latency(&disk);
    let noted = clock::last_reading();
    clock::advance(Duration::from_secs(1));
    assert_eq!(traced.pending_noted(Some(noted), &STOP), Pending::Nothing);
    assert_eq!(traced.trace().since(), Some(clock::last_reading()), "when it came in, not its own time");
    clock::advance(Duration::from_millis(49));
    assert_eq!(traced.pending_noted(Some(noted), &STOP), Pending::Nothing);
    clock::advance(Duration::from_millis(1));
    assert_eq!(traced.pending_noted(Some(noted), &STOP), Pending::Drain);
}

#[test]
fn another_latency_is_that_of_the_next_batch() {
    let disk = Disk::new();
    let (engine, traced) = with_latency(&disk);
    assert_eq!(traced.commit(&PATH), Ok(()));
    engine.settings.set_latency(10).expect("the latency is in range");
    clock::advance(Duration::from_millis(49));
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert_eq!(disk.appends(), 0);
    clock::advance(Duration::from_millis(1));
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert_eq!(traced.commit(&PATH), Ok(()));
    clock::advance(Duration::from_millis(5));
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert_eq!(disk.appends(), 2);
}

#[test]
fn what_is_gathered_is_overdue_when_it_is_found_twice() {
    let disk = Disk::new();
    let (_engine, traced) = with_latency(&disk);
    assert!(!traced.trace().is_overdue(1), "there is nothing to write");
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert!(!traced.trace().is_overdue(2), "there is time left");
    assert!(!traced.trace().is_overdue(2), "as for another process of the file");
    assert!(traced.trace().is_overdue(3));
    assert_eq!(traced.help(), Ok(()));
    assert_eq!(decode(&disk.content()).len(), 1);
    assert_eq!(traced.commit(&PATH), Ok(()));
    assert!(!traced.trace().is_overdue(4), "another record begins from the start");
    assert!(traced.trace().is_overdue(5));
}

/// Makes records until the stream has no room for another.
fn fill_batch(disk: &Disk, traced: &Traced, payload: &Payload<'_>) {
    let of_batch = BATCH_BYTES_MIN / Record::encoded_len(payload);
    for _ in 0..of_batch {
        assert_eq!(traced.commit(payload), Ok(()));
    }
    assert_eq!(disk.attempts(), 0, "there is no more room");
}

#[test]
fn who_finds_the_stream_full_does_not_wait_for_another_who_writes_it() {
    let (engine, disk) = (engine_of_queues(), Disk::new());
    let file = open(&engine, disk.open());
    let (traced, other) = (Traced::new(&engine, 1), Traced::new(&engine, 2));
    traced.set(&file);
    fill_batch(&disk, &traced, &PATH);
    // After this thread has found the stream full, another thread takes out the stream's records.
    // It writes until this thread has committed, or five seconds have passed.
    let (done, is_done) = mpsc::channel();
    let (writes, is_writing) = mpsc::channel();
    let writer = RefCell::new(Some((other, Arc::clone(&file), is_done, writes)));
    let (waits, writer_thread) = mpsc::channel();
    let hook = move || {
        let Some((other, file, is_done, writes)) = writer.take() else { return };
        let thread = thread::spawn(move || {
            let waited = Cell::new(None);
            let in_write = move || {
                if waited.get().is_none() {
                    writes.send(()).expect("the other thread waits for that");
                    waited.set(Some(is_done.recv_timeout(Duration::from_secs(5)).is_err()));
                    assert_eq!(waited.get(), Some(false), "a record waits for a write");
                }
            };
            let failures = at(Moment::Write, in_write, || other.trace().flush(MaySleep::new(), &file));
            assert!(failures.is_empty());
        });
        is_writing.recv().expect("the thread writes");
        waits.send(thread).expect("the test waits for that");
    };
    assert_eq!(at(Moment::Full, hook, || traced.commit(&PATH)), Ok(()));
    done.send(()).expect("the other thread still writes");
    writer_thread.recv().expect("there is a thread").join().expect("nothing has waited");
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    let content = disk.content();
    let records = decode(&content);
    assert_time_order(&records);
    assert_eq!(records.len(), BATCH_BYTES_MIN / Record::encoded_len(&PATH) + 1);
    assert_eq!(disk.appends(), 2);
}

#[test]
fn a_look_does_not_wait_for_who_makes_a_record() {
    let disk = Disk::new();
    let (_engine, traced) = with_latency(&disk);
    assert_eq!(traced.commit(&PATH), Ok(()));
    let trace = traced.trace();
    assert!(!trace.is_overdue(1));
    let (locked, looked) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let look = scope.spawn(|| {
            while !locked.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let overdue = trace.is_overdue(2);
            looked.store(true, Ordering::Release);
            overdue
        });
        // This is the lock that a thread holds while it makes a record.
        let in_time = trace.with_file(|_| {
            let begun = Instant::now();
            locked.store(true, Ordering::Release);
            while !looked.load(Ordering::Acquire) && begun.elapsed() < Duration::from_secs(5) {
                thread::yield_now();
            }
            looked.load(Ordering::Acquire)
        });
        assert!(in_time, "it waits");
        assert!(!look.join().expect("the look is over"));
    });
    assert!(trace.is_overdue(3));
}
