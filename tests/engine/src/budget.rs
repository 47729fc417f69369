//! The memory that is charged to users: what traces need at rest, and what happens at a limit.

use std::sync::Arc;
use std::time::Duration;

use ktrace_doubles::{MaySleep, clock, decode};
use ktrace_engine::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MIN, Pending, QUEUE_LIMIT_DEFAULT, SEGMENT_LEN, User};
use ktrace_format::{Kind, Payload};

use crate::host::{Disk, Engine, File};
use crate::trace_file::dropped;
use crate::traced::{Traced, engine_of_records, open};

/// Bytes of the segments that are ready for all processes of a user.
const POOL: usize = QUEUE_LIMIT_DEFAULT;
/// Bytes of the buffer of a file that is new or idle.
const SMALL: usize = BATCH_BYTES_MIN + BATCH_BYTES_MIN / 8;
/// Bytes of another buffer.
const BUFFER: usize = BATCH_BYTES_DEFAULT + BATCH_BYTES_DEFAULT / 8;
/// Bytes of a queue's own segments.
const OWN: usize = 2 * SEGMENT_LEN;

const ROOT: User = User { uid: 0, jail: 0 };
const ALICE: User = User { uid: 1001, jail: 0 };

/// Advances the clock by a second, and frees the buffers of idle files.
fn a_second_passes(engine: &Engine) {
    clock::advance(Duration::from_secs(1));
    engine.free_idle(MaySleep::new());
}

#[test]
fn an_idle_file_has_a_small_buffer_and_an_idle_process_two_segments() {
    clock::set(Duration::from_secs(1));
    let engine = Arc::new(Engine::new());
    let disk = Disk::new();
    let file = open(&engine, disk.open());
    assert_eq!(engine.memory_used(), POOL + SMALL);
    let processes: Vec<_> = (0..50).map(|pid| Traced::new(&engine, pid)).collect();
    processes.iter().for_each(|traced| traced.set(&file));
    // The segments come from the pool, which is refilled.
    let at_rest = engine.memory_used();
    assert!(at_rest <= SMALL + POOL + processes.len() * OWN, "{at_rest} bytes");
    let write = || {
        assert_eq!(processes[0].commit(&Payload::Namei(b"/")), Ok(()));
        processes[0].trace().want_flush();
        assert_eq!(processes[0].drain(), Ok(()));
    };
    write();
    assert_eq!(engine.memory_used(), at_rest + BUFFER, "more records may follow");
    write();
    assert_eq!(engine.memory_used(), at_rest - SMALL + 2 * BUFFER);
    assert_eq!(processes[1].commit(&Payload::Namei(b"/")), Ok(()));
    for _ in 0..3 {
        a_second_passes(&engine);
        assert_eq!(engine.memory_used(), at_rest - SMALL + 2 * BUFFER, "a record waits in the stream");
    }
    processes[1].trace().want_flush();
    assert_eq!(processes[1].drain(), Ok(()));
    a_second_passes(&engine);
    assert_eq!(engine.memory_used(), at_rest - SMALL + 2 * BUFFER, "it was not idle for a second");
    a_second_passes(&engine);
    assert_eq!(engine.memory_used(), at_rest);
    write();
    assert_eq!(engine.memory_used(), at_rest + BUFFER);
    drop(file);
    drop(processes);
    assert_eq!(engine.memory_used(), 0);
    assert_eq!(decode(&disk.content()).len(), 4);
}

/// Records of processes that share an idle file are in order, even if the first cannot wait.
#[test]
fn a_file_that_was_idle_is_in_order() {
    clock::set(Duration::from_secs(1));
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let file = open(&engine, disk.open());
    let processes = [Traced::new(&engine, 1), Traced::new(&engine, 2)];
    processes.iter().for_each(|traced| traced.set(&file));
    for _ in 0..3 {
        assert_eq!(processes[1].commit(&Payload::Namei(b"/")), Ok(()));
        processes[1].trace().want_flush();
        assert_eq!(processes[1].drain(), Ok(()));
        a_second_passes(&engine);
        a_second_passes(&engine);
        assert!(!processes[0].fault(1), "it waits in the stream");
    }
    drop(file);
    drop(processes);
    let times: Vec<_> = decode(&disk.content()).iter().map(|record| record.header.time).collect();
    assert_eq!(times.len(), 6);
    assert!(times.is_sorted());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn memory_goes_when_tracing_ends() {
    let (engine, disk) = (Arc::new(Engine::new()), Disk::new());
    let traced = Traced::to(&engine, 1, disk.open());
    for number in 0..5000 {
        traced.fault(number);
    }
    assert_eq!(traced.drain(), Ok(()));
    traced.clear();
    assert_eq!(traced.finish(), Ok(()));
    assert_eq!(engine.memory_used(), 0, "the trace itself is still there");
}

/// Returns an engine where each user may have the pool and what `more` says.
fn engine_with_limit(more: usize) -> Arc<Engine> {
    let engine = engine_of_records();
    engine.settings.set_user_memory_limit(POOL + more);
    engine
}

#[test]
#[cfg_attr(miri, ignore = "thousands of records")]
fn a_user_at_the_limit_is_slow_and_loses_what_cannot_wait_and_others_do_not() {
    let (engine, own, of_root) = (engine_with_limit(SMALL), Disk::of(ALICE), Disk::of(ROOT));
    let second = Disk::of(ALICE);
    let alice = [Traced::to(&engine, 1, own.open()), Traced::to(&engine, 2, second.open())];
    assert_eq!(engine.memory_used(), POOL + SMALL);
    let root = Traced::to(&engine, 3, of_root.open());
    const RECORDS: usize = 3000;
    for _ in 0..RECORDS {
        for traced in [&alice[0], &alice[1], &root] {
            assert_eq!(traced.commit(&Payload::Namei(b"/")), Ok(()));
        }
    }
    assert_eq!(dropped(&engine, Kind::Namei), 0);
    for disk in [&own, &second, &of_root] {
        assert_eq!(decode(&disk.content()).len(), RECORDS);
    }
    // The second file has no buffer: its process queues all that may not sleep, and takes the pool.
    let mut number = 0;
    while alice[1].pending_fault(number) != Pending::Help || dropped(&engine, Kind::Fault) == 0 {
        number += 1;
    }
    let lost = dropped(&engine, Kind::Fault);
    for number in 0..500 {
        assert!(root.fault(number));
    }
    assert_eq!(dropped(&engine, Kind::Fault), lost, "root loses nothing");
    assert_eq!(alice[1].commit(&Payload::Namei(b"/")), Ok(()));
    for traced in alice.iter().chain([&root]) {
        traced.clear();
        assert_eq!(traced.finish(), Ok(()));
    }
    let marked = |disk: &Disk| decode(&disk.content()).iter().filter(|record| record.header.drop).count();
    assert_eq!([&own, &second, &of_root].map(|disk| marked(disk)), [0, 1, 0]);
    assert_eq!(decode(&of_root.content()).len(), RECORDS + 500);
    assert_eq!(engine.memory_used(), 0);
}

#[test]
fn the_last_eighth_of_all_memory_is_for_root() {
    let engine = engine_of_records();
    engine.settings.set_memory_limit(8 * BUFFER);
    let disks = [Disk::of(ALICE), Disk::of(ROOT), Disk::of(User { uid: 0, jail: 1 })];
    let file = |disk: &Arc<Disk>| -> Arc<File> { open(&engine, disk.open()) };
    let before = engine.memory_used();
    let alice = file(&disks[0]);
    assert!(engine.memory_used() > before);
    let mut used = 0;
    // Each file of another disk has a buffer of its own, until there is no memory for one more.
    let more: Vec<_> = std::iter::repeat_with(|| {
        let file = file(&Disk::of(ALICE));
        let grown = engine.memory_used() != used;
        used = engine.memory_used();
        (file, grown)
    })
    .take_while(|(_, grown)| *grown)
    .collect();
    assert!(used <= 7 * BUFFER, "{used} bytes are used");
    let jailed = file(&disks[2]);
    assert!(engine.memory_used() <= 7 * BUFFER, "root of a jail is not root");
    let root = file(&disks[1]);
    assert!(engine.memory_used() > 7 * BUFFER);
    assert!(engine.memory_used() <= 8 * BUFFER);
    drop((alice, more, jailed, root));
    assert_eq!(engine.memory_used(), 0);
}
