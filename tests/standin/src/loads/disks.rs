//! Slow and broken disks. Traced processes continue. The file holds the records that could be
//! written, all of them whole, and all others are counted. Tracing ends with a log line that gives
//! the reason.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use kernel_sys as sys;

use super::{World, everything, expect_accounted, expect_all, expect_quiet, me, summary};
use crate::console;
use crate::host::violation;
use crate::sched::around_unload;
use crate::sysctl;
use crate::user::{ALL, Child, spawn};
use crate::vnode::{Disk, Vnode};

/// Starts four processes that do all operations while they are traced to a file.
fn start(world: &World, path: &str) -> Result<Vec<Child>> {
    let children: Vec<Child> = (0..4).map(|_| spawn("disks", 1001)).collect();
    for child in &children {
        let traced = me().trace(path, ALL, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    }
    let times = 30 * world.scale;
    children.iter().for_each(|child| {
        child.run(move |user| everything(user, times));
    });
    Ok(children)
}

/// Checks the file when all processes have exited. All records made until then must be in the file
/// or counted, and log lines must name `errno`.
fn finish(file: &Vnode, children: &[Child], what: &str, errno: u32) -> String {
    children.iter().for_each(|child| child.process.wait());
    expect_quiet();
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    let (found, lost) = expect_accounted(file, &threads, what, true);
    let lines = console::take();
    let wanted = format!("ktrace write failed, errno {errno}, tracing stopped for pid");
    let said = lines.iter().filter(|line| line.starts_with(&wanted)).count();
    if said == 0 || lost == 0 {
        violation!(Record, "{what}: {lost} records lost, {said} lines that say so: {lines:?}");
    }
    if said > children.len() {
        violation!(Record, "{what}: {said} lines for {} processes", children.len());
    }
    format!("{}, {lost} lost", summary(&found))
}

/// Writes 256 KiB per second. No record is lost.
pub fn slow(world: &World) -> Result<String> {
    let disk = Disk::new();
    let file = world.file("/tmp/ktrace.out", disk);
    disk.rate.store(256 << 10, Relaxed);
    let module = world.load()?;
    let children = start(world, "/tmp/ktrace.out")?;
    children.iter().for_each(|child| child.process.wait());
    expect_quiet();
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    let found = expect_all(file, &threads);
    module.unload_at_last();
    Ok(summary(&found))
}

/// Fills the disk. In one run a write that does not fit fails as a whole, in the other it is
/// written partly.
pub fn full(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for partial in [false, true] {
        let disk = Disk::new();
        let path = format!("/tmp/ktrace.{partial}");
        let file = world.file(&path, disk);
        disk.room.store(20_000 + me().random(5000).cast_signed(), Relaxed);
        disk.partial.store(partial, Relaxed);
        let module = world.load()?;
        let children = start(world, &path)?;
        lines.push(finish(file, &children, "full", sys::ENOSPC));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// Limits the size of files. The part below the limit is in the file.
pub fn filesize(world: &World) -> Result<String> {
    const LIMIT: u64 = 30_000;
    let file = world.file("/tmp/ktrace.out", Disk::new());
    let module = world.load()?;
    let tracer = me();
    tracer.process().file_size.store(LIMIT, Relaxed);
    let children = start(world, "/tmp/ktrace.out")?;
    tracer.process().file_size.store(i64::MAX as u64, Relaxed);
    let text = finish(file, &children, "filesize", sys::EFBIG);
    let len = file.content().len() as u64;
    if len > LIMIT || len + 2048 < LIMIT {
        violation!(Record, "the file has {len} bytes, with a limit of {LIMIT}");
    }
    module.unload_at_last();
    Ok(text)
}

/// Fails some writes, and then all.
pub fn failing(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for percent in [20, 100] {
        let disk = Disk::new();
        let path = format!("/tmp/ktrace.{percent}");
        let file = world.file(&path, disk);
        disk.failing.store(percent, Relaxed);
        let module = world.load()?;
        // So many writes that some of them fail.
        sysctl::set_text("kern.ktrace_rs.policy", "record")
            .map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
        let children = start(world, &path)?;
        lines.push(finish(file, &children, "failing", sys::EIO));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// Fails the last writes of a trace that a set-id exec has ended during an unload. The unload waits
/// for them. It leaves alone the state that the restored stock backend has given the process
/// meanwhile.
pub fn late(world: &World) -> Result<String> {
    /// The stock backend's trace of a process. An address that must not be read.
    const STOCKS: *mut sys::ktr_io_params = std::ptr::without_provenance_mut(8);
    let disk = Disk::new();
    Vnode::create(&world.directory, "/tmp/ktrace.out", disk, 1001, sys::VREG);
    let module = world.load()?;
    let child = spawn("late", 1001);
    let (process, end) = (child.process, Arc::new(AtomicBool::new(false)));
    let executed = Arc::new(AtomicBool::new(false));
    let (has_executed, ends) = (Arc::clone(&executed), Arc::clone(&end));
    child.run(move |user| {
        // The process is already traced, because the module allocates no tracing state for a process
        // while it unloads.
        let trace = || user.trace("/tmp/ktrace.out", ALL, user.process());
        let traced = trace().and_then(|_| {
            disk.held.store(true, Relaxed);
            trace()
        });
        if let Err(errno) = traced {
            violation!(Call, "ktrace: errno {errno}");
        }
        everything(user, 2);
        user.exec("setid", true);
        has_executed.store(true, Relaxed);
        while !ends.load(Relaxed) {
            user.sleep(100_000);
        }
    });
    while !disk.held.load(Relaxed) {
        me().sleep(100_000);
    }
    // The process waits in ktrace(2), which has begun, by then.
    me().sleep(5_000_000);
    let before = move || {
        disk.held.store(false, Relaxed);
        while !executed.load(Relaxed) {
            me().sleep(100_000);
        }
        disk.failing.store(100, Relaxed);
    };
    let after = move || {
        // SAFETY: no thread has begun to trace the process, and the module must not read the field.
        unsafe {
            if !(*process.as_ptr()).p_ktrioparms.is_null() {
                // The stock backend is not restored yet.
                return false;
            }
            (*process.as_ptr()).p_ktrioparms = STOCKS;
        }
        process.set_traceflag(sys::KTRFAC_USER);
        true
    };
    console::take();
    around_unload(before, after);
    module.unload_at_last();
    let lines = console::take();
    let wanted =
        format!("ktrace write failed, errno {}, tracing stopped for pid {}", sys::EIO, process.pid());
    if lines.iter().filter(|line| line.starts_with(&wanted)).count() != 1 {
        violation!(Record, "one line that records of pid {} are lost: {lines:?}", process.pid());
    }
    // SAFETY: the stock backend of the stand-in does not read the field.
    let left = unsafe { std::mem::take(&mut (*process.as_ptr()).p_ktrioparms) };
    if left != STOCKS || process.traceflag() != sys::KTRFAC_USER {
        violation!(Return, "the unload has changed what the stock backend traces");
    }
    process.set_traceflag(0);
    end.store(true, Relaxed);
    process.wait();
    Ok(format!("{} lines of dmesg(8), and the stock backend's trace is what it was", lines.len()))
}

/// Hangs the writes to two files of one disk. Processes that are traced to another disk are helped.
/// An unload gives up, and names a file.
pub fn hung(world: &World) -> Result<String> {
    const LATENCY_NS: u64 = 50_000_000;
    let (bad, good) = (Disk::new(), Disk::new());
    let names = ["/tmp/hung.1", "/tmp/hung.2", "/tmp/ktrace.out"];
    let files = names.map(|name| world.file(name, if name.contains("hung") { bad } else { good }));
    bad.hangs.store(true, Relaxed);
    let module = world.load()?;
    let done = Arc::new(AtomicBool::new(false));
    let mut children = Vec::new();
    for name in names {
        let child = spawn("sleeper", 1001);
        let traced = me().trace(name, ALL, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
        let done = Arc::clone(&done);
        child.run(move |user| {
            let _ = user.syscall(3, &[3, 0x2000_3000, 1], |user| {
                while !done.load(Relaxed) {
                    user.sleep(1_000_000);
                }
                Ok(1)
            });
        });
        children.push(child);
        me().sleep(4 * LATENCY_NS);
    }
    let [one, other, file] = files;
    if file.content().is_empty() || !one.content().is_empty() || !other.content().is_empty() {
        violation!(Record, "who is traced to the disk that works is not helped");
    }
    let module = match module.unload(true) {
        Err((module, errno)) if errno.cast_unsigned() == sys::EBUSY => module,
        Err((_, errno)) => violation!(Call, "MOD_UNLOAD: errno {errno}"),
        Ok(()) => violation!(Call, "the module is unloaded with a file that is not written"),
    };
    let said = console::take();
    let is_it = |line: &String| line.contains("/tmp/hung.") && line.contains("is not written yet");
    if !said.iter().any(is_it) {
        violation!(Record, "the file is not named: {said:?}");
    }
    bad.hangs.store(false, Relaxed);
    done.store(true, Relaxed);
    children.iter().for_each(|child| child.process.wait());
    module.unload_at_last();
    if one.content().is_empty() || other.content().is_empty() {
        violation!(Record, "the records of the disk that hung are lost");
    }
    Ok(format!("{} bytes while the other disk hung", file.content().len()))
}

/// Interrupts writes by signals, some of them halfway. No record is lost, and no trace ends.
pub fn interrupted(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for policy in ["record", "return", "batch"] {
        let disk = Disk::new();
        let path = format!("/tmp/ktrace.{policy}");
        let file = world.file(&path, disk);
        disk.set_interruptible();
        let module = world.load()?;
        sysctl::set_text("kern.ktrace_rs.policy", policy)
            .map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
        // Small batches are written often, and so interrupted.
        sysctl::set_number("kern.ktrace_rs.batch_bytes", 8192)
            .map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
        let children = start(world, &path)?;
        while children.iter().any(|child| !child.process.has_exited()) {
            for child in children.iter().filter(|child| !child.process.has_exited()) {
                me().kill(child.process, 30);
            }
            me().sleep(100_000);
        }
        // The helper writes the rest.
        let wait = |name: &str| {
            while sysctl::number(&format!("kern.ktrace_rs.stats.{name}")).unwrap_or(0) != 0 {
                me().sleep(1_000_000);
            }
        };
        ["queued", "files"].iter().for_each(|name| wait(name));
        expect_quiet();
        let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
        lines.push(summary(&expect_all(file, &threads)));
        let said = console::take();
        if said.iter().any(|line| line.contains("write failed")) {
            violation!(Record, "a signal has ended a trace: {said:?}");
        }
        if disk.interrupted.load(Relaxed) == 0 {
            violation!(Call, "no signal has interrupted a write under {policy}");
        }
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// Unmounts the file system under a running trace.
pub fn dead(world: &World) -> Result<String> {
    let disk = Disk::new();
    let file = world.file("/tmp/ktrace.out", disk);
    let module = world.load()?;
    sysctl::set_number("kern.ktrace_rs.latency", 2)
        .map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
    let children = start(world, "/tmp/ktrace.out")?;
    while disk.writes.load(Relaxed) < 5 && children.iter().any(|child| !child.process.has_exited()) {
        me().sleep(500_000);
    }
    disk.unmount();
    let text = finish(file, &children, "dead", sys::EIO);
    module.unload_at_last();
    Ok(text)
}

/// Suspends the file system again and again. Each time, the suspending thread waits until there are
/// no writers.
pub fn suspended(world: &World) -> Result<String> {
    let disk = Disk::new();
    let file = world.file("/tmp/ktrace.out", disk);
    let module = world.load()?;
    let children = start(world, "/tmp/ktrace.out")?;
    while children.iter().any(|child| !child.process.has_exited()) {
        disk.suspend();
        me().sleep(300_000);
        disk.resume();
        me().sleep(500_000);
    }
    expect_quiet();
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    let found = expect_all(file, &threads);
    module.unload_at_last();
    Ok(summary(&found))
}
