//! The memory of processes that are no longer traced, and live on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use kernel_sys as sys;

use super::{World, everything, expect_quiet, me};
use crate::host::violation;
use crate::ledger::{self, Exact};
use crate::user::{ALL, Child, Outcome, User, spawn};
use crate::vnode::{Disk, Vnode};
use crate::{heap, sysctl, thread};

const PATH: &str = "/tmp/ktrace.out";

/// A way to end the tracing of processes.
type End = fn(&[Child]);

/// Ends all tracing in each possible way, while the processes rest or make records. Each time, the
/// module has only the memory that it had before, within a second.
pub fn memory(world: &World) -> Result<String> {
    let file = world.file(PATH, Disk::new());
    let module = world.load()?;
    let before = used();
    ledger::begin_churn();
    let stop = Arc::new(AtomicBool::new(false));
    let children = start(&stop, 2, 4);
    let ways: [(&str, End); 3] = [
        ("of each process", |children| {
            for child in children {
                expect_ok(me().ktrace(None, sys::KTROP_CLEAR, ALL, child.process.pid()));
            }
        }),
        ("of all processes", |_| expect_ok(clear_all())),
        ("of the file", |_| expect_ok(clear_file())),
    ];
    let mut most = 0;
    for (way, end) in ways.into_iter().cycle().take(3 * world.scale) {
        for child in &children {
            expect_ok(me().ktrace(Some(PATH), sys::KTROP_SET, ALL, child.process.pid()));
        }
        me().sleep(20_000_000);
        most = most.max(used().1);
        end(&children);
        expect_back(before, way);
    }
    if children.iter().any(|child| child.process.has_exited()) {
        violation!(Call, "a process has exited");
    }
    let text = finish(&stop, &children, file);
    module.unload_at_last();
    Ok(format!("{most} bytes while they were traced, {} before and after; {text}", before.1))
}

/// Begins and ends tracing again and again, to a slow disk. Threads are inside the tracer when
/// tracing of their process has ended, and enter it while its trace is retired.
pub fn retired(world: &World) -> Result<String> {
    let disk = Disk::new();
    disk.rate.store(256 << 10, Ordering::Relaxed);
    let file = world.file(PATH, disk);
    let module = world.load()?;
    let before = used();
    ledger::begin_churn();
    let stop = Arc::new(AtomicBool::new(false));
    let children = start(&stop, 4, 2);
    for _ in 0..60 * world.scale {
        let pid = children[me().random(children.len() as u64) as usize].process.pid();
        expect_ok(match me().random(8) {
            0 => clear_all(),
            1 => clear_file(),
            2..=4 => me().ktrace(None, sys::KTROP_CLEAR, ALL, pid),
            _ => {
                let policy = ["record", "return", "batch"][me().random(3) as usize];
                let _ = sysctl::set_text("kern.ktrace_rs.policy", policy);
                let inherit = if me().random(2) == 0 { sys::KTRFAC_INHERIT } else { 0 };
                me().ktrace(Some(PATH), sys::KTROP_SET, ALL | inherit, pid)
            }
        });
        me().sleep(me().random(30_000_000));
    }
    expect_ok(clear_all());
    expect_back(before, "on a slow disk");
    let text = finish(&stop, &children, file);
    module.unload_at_last();
    Ok(text)
}

/// Starts processes that make records with three threads each, and others that rest.
fn start(stop: &Arc<AtomicBool>, busy: usize, resting: usize) -> Vec<Child> {
    (0..busy + resting)
        .map(|number| {
            let child = spawn("retire", 1001);
            let stop = Arc::clone(stop);
            child.run(move |user| {
                if number >= busy {
                    rest(user, &stop);
                    return;
                }
                for _ in 0..2 {
                    let stop = Arc::clone(&stop);
                    user.thread_create("another", move |user| work(user, &stop));
                }
                work(user, &stop);
            });
            child
        })
        .collect()
}

fn rest(user: &User, stop: &AtomicBool) {
    let _ = user.syscall(240, &[0x2000_3000], |user| {
        while !stop.load(Ordering::Relaxed) {
            user.sleep(10_000_000);
        }
        Ok(0)
    });
}

fn work(user: &User, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        everything(user, 1);
        if user.random(16) == 0 {
            user.sys_fork("child").run(|user| everything(user, 1)).wait();
        }
        user.sleep(user.random(10_000_000));
    }
}

/// Ends all tracing, as `ktrace -C` does.
fn clear_all() -> Outcome {
    me().ktrace(None, sys::KTROP_CLEAR | sys::KTRFLAG_DESCEND, ALL, me().process().pid())
}

fn clear_file() -> Outcome {
    me().ktrace(Some(PATH), sys::KTROP_CLEARFILE, 0, 0)
}

fn expect_ok(outcome: Outcome) {
    if let Err(errno) = outcome {
        violation!(Call, "ktrace: errno {errno}");
    }
}

/// Returns the number of the module's allocations, and their bytes.
fn used() -> (i64, i64) {
    heap::usage().get("ktrace_rs").map_or((0, 0), |used| (used.count, used.bytes))
}

/// Checks that the module has only the memory that it had `before`, within a second.
fn expect_back(before: (i64, i64), way: &str) {
    for _ in 0..100 {
        if used() == before {
            return;
        }
        me().sleep(10_000_000);
    }
    violation!(
        Leak,
        "{way}: {:?} allocations and bytes a second after tracing has ended, {before:?} before it began",
        used()
    );
}

/// Ends the processes, and checks the file. Returns a summary.
fn finish(stop: &AtomicBool, children: &[Child], file: &Vnode) -> String {
    stop.store(true, Ordering::Relaxed);
    children.iter().for_each(|child| child.process.wait());
    expect_quiet();
    let found = ledger::check(file, &thread::all(), Exact::Churn).0;
    if found.total() == 0 {
        violation!(Record, "nobody has made a record");
    }
    format!("{} records", found.total())
}
