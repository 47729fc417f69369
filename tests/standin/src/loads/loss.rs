//! No loss: every record that these loads make is in the file, in order, and none is marked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use anyhow::Result;
use kernel_sys as sys;

use super::{World, dropped, everything, expect_all, expect_bounded, expect_quiet, me, summary};
use crate::host::violation;
use crate::sysctl;
use crate::thread::Kt;
use crate::user::{ALL, Child, User, spawn};
use crate::vnode::{Disk, Vnode};

/// Traces some processes to one file, from load to unload.
fn traced(
    world: &World,
    facs: u32,
    children: &[Child],
    run: impl FnOnce(&[Child]) -> Vec<&'static Kt>,
) -> Result<String> {
    let file = world.file("/tmp/ktrace.out", Disk::new());
    let module = world.load()?;
    for child in children {
        let traced = me().trace("/tmp/ktrace.out", facs, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    }
    let mut threads = run(children);
    threads.extend(children.iter().map(|child| child.thread));
    children.iter().for_each(|child| child.process.wait());
    let text = finish(file, &threads);
    module.unload_at_last();
    Ok(text)
}

/// Checks the file when all processes have exited.
fn finish(file: &Vnode, threads: &[&'static Kt]) -> String {
    let lost: u64 = dropped().iter().map(|(_, count)| count).sum();
    if lost != 0 {
        violation!(Record, "{lost} records are counted as dropped");
    }
    expect_quiet();
    let commits = sysctl::number("kern.ktrace_rs.stats.commits").unwrap_or(0);
    expect_bounded(threads);
    let found = expect_all(file, threads);
    format!("{}, {commits} writes", summary(&found))
}

fn sleep_often(user: &User, times: usize) {
    for _ in 0..times {
        let _ = user.syscall(240, &[0x7fff_e000, 0], |user| {
            user.sleep(1_000_000);
            Ok(0)
        });
    }
}

/// Runs processes that sleep for a millisecond again and again.
pub fn sleepers(world: &World) -> Result<String> {
    let children: Vec<Child> = (0..100 * world.scale).map(|_| spawn("sleeper", 1001)).collect();
    traced(world, ALL, &children, |children| {
        children.iter().for_each(|child| {
            child.run(|user| sleep_often(user, 10));
        });
        Vec::new()
    })
}

/// Runs the work of [`sleepers`] in threads of one process.
pub fn threads(world: &World) -> Result<String> {
    let count = 50 * world.scale;
    traced(world, ALL, &[spawn("threads", 1001)], |children| {
        let (sender, receiver) = channel();
        children[0].run(move |user| {
            for _ in 0..count {
                let kt = user.thread_create("thread", |user| sleep_often(user, 10));
                sender.send(kt).expect("somebody waits");
            }
        });
        children[0].process.wait();
        receiver.iter().collect()
    })
}

/// Runs pairs of processes that wake each other.
pub fn pingpong(world: &World) -> Result<String> {
    let pairs = 16 * world.scale;
    let children: Vec<Child> = (0..2 * pairs).map(|_| spawn("pingpong", 1001)).collect();
    traced(world, ALL, &children, |children| {
        for pair in children.chunks(2) {
            let turn = Arc::new(AtomicUsize::new(0));
            for (mine, child) in pair.iter().enumerate() {
                let turn = Arc::clone(&turn);
                child.run(move |user| {
                    for _ in 0..50 {
                        let _ = user.syscall(3, &[3, 0x2000_3000, 1], |user| {
                            while turn.load(Ordering::SeqCst) != mine {
                                user.sleep_on(&turn);
                            }
                            user.genio(3, false, b"x");
                            Ok(1)
                        });
                        let _ = user.syscall(4, &[4, 0x2000_3000, 1], |user| {
                            turn.store(1 - mine, Ordering::SeqCst);
                            user.wakeup(&turn);
                            Ok(1)
                        });
                    }
                });
            }
        }
        Vec::new()
    })
}

/// Runs two processes that send each other signals.
pub fn signals(world: &World) -> Result<String> {
    let times = 2000 * world.scale;
    let children = [spawn("signals", 1001), spawn("signals", 1001)];
    traced(world, ALL, &children, |children| {
        for (mine, child) in children.iter().enumerate() {
            let other = children[1 - mine].process;
            child.run(move |user| {
                for _ in 0..times {
                    let _ = user.syscall(37, &[other.pid().unsigned_abs().into(), 30], |user| {
                        user.kill(other, 30);
                        Ok(0)
                    });
                    if user.random(16) == 0 {
                        user.preempted();
                    }
                }
            });
        }
        Vec::new()
    })
}

/// Takes page faults, single ones from user mode, and many within one system call.
pub fn faults(world: &World) -> Result<String> {
    let times = 1000 * world.scale as u64;
    let children: Vec<Child> = (0..4).map(|_| spawn("faults", 1001)).collect();
    traced(world, ALL, &children, |children| {
        for child in children {
            child.run(move |user| {
                for page in 0..times {
                    user.trap(0x2000_0000 + page * 4096);
                    if page % 100 == 0 {
                        let _ = user.syscall(3, &[3, 0x2000_0000, 400 * 4096], |user| {
                            (0..400).for_each(|page| user.fault(0x3000_0000 + page * 4096, 2, 0));
                            Ok(0)
                        });
                    }
                }
            });
        }
        Vec::new()
    })
}

/// Runs a process with many short-lived children, some of which have children.
pub fn forks(world: &World) -> Result<String> {
    let times = 300 * world.scale;
    traced(world, ALL | sys::KTRFAC_INHERIT, &[spawn("forks", 1001)], |children| {
        let (sender, receiver) = channel();
        children[0].run(move |user| {
            for index in 0..times {
                let child = user.sys_fork("child");
                let again = sender.clone();
                child.run(move |user| {
                    for _ in 0..5 {
                        let _ = user.syscall(39, &[], |_| Ok(1));
                    }
                    user.exec("program", false);
                    let _ = user.syscall(20, &[], |_| Ok(2));
                    if index % 8 == 0 {
                        let grandchild = user.fork("grandchild");
                        again.send(grandchild.thread).expect("somebody waits");
                        grandchild.run(|user| sleep_often(user, 1)).wait();
                    }
                });
                sender.send(child.thread).expect("somebody waits");
                let _ = user.syscall(7, &[u64::MAX, 0, 0], |_| {
                    child.process.wait();
                    Ok(0)
                });
            }
        });
        children[0].process.wait();
        receiver.iter().collect()
    })
}

/// Does all operations of a process, under each policy and with small batches.
pub fn policies(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for (policy, at_once) in [("record", ""), ("return", ""), ("batch", ""), ("batch", "ns")] {
        let children: Vec<Child> = (0..4).map(|_| spawn("everything", 1001)).collect();
        let path = format!("/tmp/ktrace.{policy}{at_once}");
        let file = world.file(&path, Disk::new());
        let module = world.load()?;
        let set = sysctl::set_text("kern.ktrace_rs.policy", policy)
            .and_then(|()| sysctl::set_text("kern.ktrace_rs.at_once", at_once))
            .and_then(|()| sysctl::set_number("kern.ktrace_rs.batch_bytes", 8192))
            .and_then(|()| sysctl::set_number("kern.ktrace_rs.latency", 5));
        set.map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
        for child in &children {
            let traced = me().trace(&path, ALL, child.process);
            traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
        }
        let times = 20 * world.scale;
        children.iter().for_each(|child| {
            child.run(move |user| everything(user, times));
        });
        children.iter().for_each(|child| child.process.wait());
        let threads: Vec<&Kt> = children.iter().map(|child| child.thread).collect();
        lines.push(format!("{policy} {at_once}: {}", finish(file, &threads)));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}
