//! Slow and broken disks: whoever is traced goes on, what could be written is there, whole records only, and all else
//! is counted; tracing ends with a line that says why.

use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use kernel_sys as sys;

use super::{World, everything, expect_accounted, expect_all, expect_quiet, me, summary};
use crate::console;
use crate::host::violation;
use crate::sysctl;
use crate::user::{ALL, Child, spawn};
use crate::vnode::{Disk, Vnode};

/// Some processes that do everything while they are traced to a file.
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

/// Checks what is there when all have exited: `errno` is what a log line is to name, and all that was made until
/// then is in the file or counted.
fn finish(file: &Vnode, children: &[Child], what: &str, errno: Option<u32>) -> String {
    children.iter().for_each(|child| child.process.wait());
    expect_quiet();
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    let (found, lost) = expect_accounted(file, &threads, what, true);
    let lines = console::take();
    if let Some(errno) = errno {
        let wanted = format!("ktrace write failed, errno {errno}, tracing stopped for pid");
        let said = lines.iter().filter(|line| line.starts_with(&wanted)).count();
        if said == 0 || lost == 0 {
            violation!(Record, "{what}: {lost} records lost, {said} lines that say so: {lines:?}");
        }
        if said > children.len() {
            violation!(Record, "{what}: {said} lines for {} processes", children.len());
        }
    }
    format!("{}, {lost} lost", summary(&found))
}

/// 256 KiB in a second: nobody loses anything for it.
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

/// A disk that becomes full, once with all or nothing written, once with what there is room for.
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
        lines.push(finish(file, &children, "full", Some(sys::ENOSPC)));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// A limit of the size of files: what fits below it is there.
pub fn filesize(world: &World) -> Result<String> {
    const LIMIT: u64 = 30_000;
    let file = world.file("/tmp/ktrace.out", Disk::new());
    let module = world.load()?;
    let tracer = me();
    tracer.process().file_size.store(LIMIT, Relaxed);
    let children = start(world, "/tmp/ktrace.out")?;
    tracer.process().file_size.store(i64::MAX as u64, Relaxed);
    let text = finish(file, &children, "filesize", Some(sys::EFBIG));
    let len = file.content().len() as u64;
    if len > LIMIT || len + 2048 < LIMIT {
        violation!(Record, "the file has {len} bytes, with a limit of {LIMIT}");
    }
    module.unload_at_last();
    Ok(text)
}

/// A disk that fails some writes, and then all.
pub fn failing(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for percent in [20, 100] {
        let disk = Disk::new();
        let path = format!("/tmp/ktrace.{percent}");
        let file = world.file(&path, disk);
        disk.failing.store(percent, Relaxed);
        let module = world.load()?;
        let children = start(world, &path)?;
        let errno = (percent == 100).then_some(sys::EIO);
        lines.push(finish(file, &children, "failing", errno));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// The file system goes away under a running trace.
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
    disk.dead.store(true, Relaxed);
    let text = finish(file, &children, "dead", Some(sys::EIO));
    module.unload_at_last();
    Ok(text)
}

/// The file system is suspended again and again, by who waits until nobody writes.
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
