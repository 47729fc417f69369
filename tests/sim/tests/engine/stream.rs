//! The stream of a file: when what is gathered is written, and by whom.

use std::sync::Arc;
use std::time::Duration;

use ktrace_engine::Pending;
use ktrace_format::Payload;
use ktrace_sim::{Disk, Engine, clock};

use crate::trace_file::decode;
use crate::traced::Traced;

const PATH: Payload<'_> = Payload::Namei(b"/");

/// A traced process with a latency of 100 ms, and a clock that stands still but for `clock::advance`.
fn with_latency(disk: &Arc<Disk>) -> (Arc<Engine>, Traced) {
    clock::make_deterministic(Duration::new(1_000_000_000, 999_000_000));
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
