//! Many threads and processes at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ktrace_engine::{BATCH_BYTES_MIN, QUEUE_LIMIT_MIN, SEGMENT_LEN};
use ktrace_format::{Kind, Payload};
use ktrace_sim::{Disk, Faults, Inherit, Process, System, Thread};

use crate::trace_file::{assert_settled, assert_time_order, count, decode, dropped};

/// The facilities of all record types.
const ALL: u32 = 0x00ff_ffff;

/// The work of each thread of a load.
#[derive(Clone, Copy)]
struct Load {
    system_calls: u64,
    /// The number of context switches, and of faults, in a system call.
    asynchronous: u64,
}

impl Load {
    /// Runs the load on a thread. Its records carry rising numbers.
    fn run(self, thread: Thread) {
        let mut number = 0;
        for call in 0..self.system_calls {
            thread.syscall(20, &[call], |td| {
                for _ in 0..self.asynchronous {
                    td.context_switch(true, false, "load");
                    td.fault(number, 1);
                    number += 1;
                }
                Ok(call)
            });
        }
        thread.exit();
    }
}

/// Runs a load on processes of `threads` threads. One process is traced to each of the files, which
/// may be the same. Returns the processes.
fn run(system: &Arc<System>, disks: &[Arc<Disk>], threads: usize, load: Load) -> Vec<Arc<Process>> {
    let mut processes = Vec::new();
    let mut all = Vec::new();
    for disk in disks {
        let first = system.spawn("load");
        first.trace_self(ALL, Inherit::Yes, &system.open(disk.open()));
        processes.push(Arc::clone(first.process()));
        all.extend((1..threads).map(|_| first.spawn()));
        all.push(first);
    }
    thread::scope(|scope| {
        for thread in all {
            scope.spawn(move || load.run(thread));
        }
    });
    processes
}

/// Checks that each thread's system calls and faults are in the order in which they were made.
fn assert_thread_order(content: &[u8]) {
    let mut last = BTreeMap::new();
    for record in decode(content) {
        let number = match record.payload {
            Payload::Syscall(call) => call.args.iter().next().expect("the call has an argument"),
            Payload::Fault(fault) => fault.vaddr,
            _ => continue,
        };
        let before = last.insert((record.header.tid, record.header.kind as u16), number);
        assert!(before.is_none_or(|before| before < number), "thread {} out of order", record.header.tid);
    }
}

/// Checks that all records made are in the files or counted as dropped, type by type.
fn assert_conserved(system: &System, disks: &[&Arc<Disk>], processes: &[Arc<Process>]) {
    let contents: Vec<_> = disks.iter().map(|disk| disk.content()).collect();
    let records: Vec<_> = contents.iter().flat_map(|content| decode(content)).collect();
    let found = count(&records);
    assert_settled(system.engine(), &found);
    for (kind, found) in found.iter() {
        let generated: u64 = processes.iter().map(|process| process.generated(kind)).sum();
        assert_eq!(found + dropped(system.engine(), kind), generated, "{}", kind.name());
    }
    for content in &contents {
        assert_time_order(&decode(content));
        assert_thread_order(content);
    }
}

fn total_dropped(system: &System) -> u64 {
    Kind::ALL.into_iter().map(|kind| dropped(system.engine(), kind)).sum()
}

/// Checks a load that is small enough for Miri, which needs no load to detect a race.
#[test]
fn nothing_is_lost_in_a_small_load() {
    let (system, disk) = (System::boot(), Disk::new());
    let disks = vec![Arc::clone(&disk); 2];
    let processes = run(&system, &disks, 2, Load { system_calls: 2, asynchronous: 2 });
    assert_conserved(&system, &[&disk], &processes);
    assert_eq!(total_dropped(&system), 0);
}

#[test]
fn nothing_is_lost_in_one_file() {
    let (system, disk) = (System::boot(), Disk::new());
    let disks = vec![Arc::clone(&disk); 6];
    let processes = run(&system, &disks, 4, Load { system_calls: 200, asynchronous: 2 });
    assert_conserved(&system, &[&disk], &processes);
    assert_eq!(total_dropped(&system), 0);
}

#[test]
fn nothing_is_lost_in_own_files() {
    let (system, disks) = (System::boot(), [(); 6].map(|()| Disk::new()));
    let processes = run(&system, &disks, 4, Load { system_calls: 200, asynchronous: 2 });
    assert_conserved(&system, &disks.each_ref(), &processes);
    assert_eq!(total_dropped(&system), 0);
}

#[test]
fn nothing_is_lost_in_slow_files() {
    let (system, disks) = (System::boot(), [(); 4].map(|()| Disk::new()));
    for disk in &disks {
        disk.set_faults(Faults { delay: Duration::from_micros(300), ..Faults::default() });
    }
    let processes = run(&system, &disks, 8, Load { system_calls: 10, asynchronous: 3 });
    assert_conserved(&system, &disks.each_ref(), &processes);
    assert_eq!(total_dropped(&system), 0);
}

#[test]
fn what_does_not_fit_is_counted_by_type_and_marked() {
    let (system, disk) = (System::boot(), Disk::new());
    let settings = &system.engine().settings;
    settings.set_queue_limit(QUEUE_LIMIT_MIN).expect("the limit is in range");
    settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
    let disks = vec![Arc::clone(&disk); 4];
    let processes = run(&system, &disks, 4, Load { system_calls: 30, asynchronous: 60 });
    assert_conserved(&system, &[&disk], &processes);
    for kind in Kind::ALL {
        let expected = matches!(kind, Kind::Csw | Kind::Fault);
        assert_eq!(dropped(system.engine(), kind) > 0, expected, "{}", kind.name());
    }
    let marked = decode(&disk.content()).iter().filter(|record| record.header.drop).count() as u64;
    assert!((1..=total_dropped(&system)).contains(&marked));
    let most = system.engine().stats.queued_max();
    assert!(most <= QUEUE_LIMIT_MIN as u64, "{most} bytes were queued");
}

#[test]
fn the_limit_changes_under_load() {
    let (system, disk) = (System::boot(), Disk::new());
    let most = 16 * SEGMENT_LEN;
    system.engine().settings.set_queue_limit(most).expect("the limit is in range");
    system.engine().settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
    let disks = vec![Arc::clone(&disk); 4];
    let load = Load { system_calls: 40, asynchronous: 60 };
    let processes = thread::scope(|scope| {
        let load = scope.spawn(|| run(&system, &disks, 3, load));
        for segments in [1, 16, 2, 8].into_iter().cycle() {
            system.engine().settings.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
            if load.is_finished() {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        load.join().expect("the load runs")
    });
    assert_conserved(&system, &[&disk], &processes);
    assert!(system.engine().stats.queued_max() <= most as u64);
}

#[test]
fn a_full_file_ends_its_processes_and_the_others_go_on() {
    let system = System::boot();
    // Each process is the only one to end its trace: a record is counted if it is traced before.
    let (bad, good) = ([(); 2].map(|()| Disk::new()), Disk::new());
    let full = Faults { capacity: Some(20_000), ..Faults::default() };
    bad.iter().for_each(|disk| disk.set_faults(full.clone()));
    let disks = [&bad[0], &good, &bad[1], &good].map(Arc::clone);
    let processes = run(&system, &disks, 1, Load { system_calls: 200, asynchronous: 2 });
    assert_conserved(&system, &[&bad[0], &bad[1], &good], &processes);
    assert!(bad.iter().all(|disk| disk.size() <= 20_000));
    assert_eq!(system.log().len(), 2, "{:?}", system.log());
    let pids = |content: &[u8]| {
        let finished = decode(content).into_iter().filter(|record| record.header.kind == Kind::ProcDtor);
        finished.map(|record| record.header.pid).collect::<Vec<_>>()
    };
    assert!(bad.iter().all(|disk| pids(&disk.content()).is_empty()));
    assert_eq!(pids(&good.content()).len(), 2);
}

#[test]
fn tracing_is_switched_under_load() {
    let system = System::boot();
    let disks = [(); 3].map(|()| Disk::new());
    let first = system.spawn("switch");
    first.trace_self(ALL, Inherit::No, &system.open(disks[0].open()));
    let process = Arc::clone(first.process());
    let threads: Vec<_> = (0..3).map(|_| first.spawn()).collect();
    thread::scope(|scope| {
        for thread in threads {
            scope.spawn(move || Load { system_calls: 300, asynchronous: 3 }.run(thread));
        }
        for round in 0..60 {
            if round % 5 == 4 {
                system.clear(&process, ALL);
            } else {
                system.set(&process, ALL, Inherit::No, &system.open(disks[round % 3].open()));
            }
            thread::sleep(Duration::from_micros(300));
        }
    });
    first.exit();
    let contents = disks.each_ref().map(|disk| disk.content());
    let records: Vec<_> = contents.iter().flat_map(|content| decode(content)).collect();
    assert_settled(system.engine(), &count(&records));
    assert_eq!(disks.each_ref().map(|disk| disk.open_count()), [0, 0, 0]);
    for (kind, found) in count(&records).iter() {
        assert!(found + dropped(system.engine(), kind) <= process.generated(kind), "{}", kind.name());
    }
    contents.iter().for_each(|content| assert_thread_order(content));
}

#[test]
fn a_family_of_processes_under_load() {
    let (system, disk) = (System::boot(), Disk::new());
    let first = system.spawn("family");
    first.trace_self(ALL, Inherit::Yes, &system.open(disk.open()));
    let mut processes = vec![Arc::clone(first.process())];
    let mut all = vec![first];
    for generation in 0..12 {
        let child = all[generation / 2].fork();
        processes.push(Arc::clone(child.process()));
        all.push(child);
    }
    thread::scope(|scope| {
        for thread in all {
            scope.spawn(move || Load { system_calls: 50, asynchronous: 2 }.run(thread));
        }
    });
    assert_conserved(&system, &[&disk], &processes);
    assert_eq!(total_dropped(&system), 0);
    assert_eq!(disk.open_count(), 0);
}
