//! Bounds: with queues so small that records are lost, each record is in the file or counted.

use anyhow::Result;

use super::{World, expect_accounted, expect_bounded, expect_quiet, me};
use crate::host::violation;
use crate::sysctl;
use crate::user::{ALL, Child, User, spawn};
use crate::vnode::Disk;

/// Takes many page faults within system calls, with queues of 4 KiB and a slow disk.
pub fn limit(world: &World) -> Result<String> {
    let disk = Disk::new();
    let file = world.file("/tmp/ktrace.out", disk);
    disk.rate.store(2 << 20, std::sync::atomic::Ordering::Relaxed);
    let module = world.load()?;
    let set = sysctl::set_number("kern.ktrace_rs.queue_limit", 4096)
        .and_then(|()| sysctl::set_number("kern.ktrace_rs.batch_bytes", 8192));
    set.map_err(|errno| anyhow::anyhow!("sysctl: errno {errno}"))?;
    let children: Vec<Child> = (0..4).map(|_| spawn("limit", 1001)).collect();
    for child in &children {
        let traced = me().trace("/tmp/ktrace.out", ALL, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    }
    let times = 5 * world.scale;
    children.iter().for_each(|child| {
        child.run(move |user| fault_much(user, times));
    });
    children.iter().for_each(|child| child.process.wait());
    let most = sysctl::number("kern.ktrace_rs.stats.queued_max").unwrap_or(u64::MAX);
    if most > 4096 {
        violation!(Record, "a process had {most} bytes queued, with a limit of 4096");
    }
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    expect_bounded(&threads);
    let (found, lost) = expect_accounted(file, &threads, "limit", false);
    if lost == 0 {
        violation!(Record, "nothing was lost, although there was no room");
    }
    if found.marks == 0 {
        violation!(Record, "{lost} records were lost, and none is marked");
    }
    expect_quiet();
    module.unload_at_last();
    Ok(format!("{} records in the file, {lost} lost and counted, {} marked", found.total(), found.marks))
}

/// Takes page faults whose records all differ.
fn fault_much(user: &User, times: usize) {
    for call in 0..times as u64 {
        let _ = user.syscall(3, &[3, 0x2000_0000, call], |user| {
            (300 * call..300 * (call + 1))
                .for_each(|page| user.fault(0x3000_0000 + page * 4096, 2, page as i32));
            Ok(call)
        });
    }
}
