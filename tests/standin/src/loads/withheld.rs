//! Withheld records: none is made of the new program during an exec, nor of operations that are not
//! traced any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use kernel_sys as sys;

use super::{World, dropped, expect_all, expect_quiet, me, summary};
use crate::host::violation;
use crate::ledger::{Exact, Found, check};
use crate::sysctl;
use crate::thread::Kt;
use crate::user::{ALL, Child, User, spawn};
use crate::vnode::{Disk, Vnode};

/// Executes a set-id program. An ordinary user's trace ends, and root's continues.
pub fn set_id(world: &World) -> Result<String> {
    let mut lines = Vec::new();
    for (uid, policy) in [(1001, "record"), (1001, "return"), (1001, "batch"), (0, "batch")] {
        let path = format!("/tmp/ktrace.{uid}.{policy}");
        let file = Vnode::create(&world.directory, &path, Disk::new(), uid, sys::VREG);
        let module = world.load()?;
        set(&[("policy", policy)])?;
        let (tracer, child) = (spawn("tracer", uid), spawn("child", 1001));
        tracer.run(move |user| {
            if let Err(errno) = user.trace(&path, ALL, child.process) {
                violation!(Call, "ktrace: errno {errno}");
            }
        });
        tracer.process.wait();
        child.run(move |user| {
            user.trap(0x2000_0000);
            user.exec("set-id", true);
            if (user.process().traceflag() != 0) != (uid == 0) {
                violation!(Call, "a set-id program, traced by uid {uid}: {:#x}", user.process().traceflag());
            }
            user.trap(0x2000_0000);
        });
        child.process.wait();
        lines.push(format!("{uid} {policy}: {}", finish(file, child.thread)));
        module.unload_at_last();
    }
    Ok(lines.join("\n\t"))
}

/// Clears some trace points of a process while it waits in a system call.
pub fn cleared(world: &World) -> Result<String> {
    // Context switches are left out, because their order with ktrace(2)'s own records varies.
    let data = in_call(world, ALL & !sys::KTRFAC_CSW, sys::KTRFAC_GENIO, "batch", |user, wait| {
        user.genio_late(3, b"secret", wait);
    })?;
    // The record of the call's return would have flushed the records before it. Another record must
    // do so now.
    let facs = sys::KTRFAC_NAMEI | sys::KTRFAC_SYSRET | sys::KTRFAC_STRUCT;
    let end = in_call(world, facs, sys::KTRFAC_NAMEI | sys::KTRFAC_SYSRET, "return", |user, wait| {
        user.namei("/etc/passwd");
        wait(user);
        user.namei("/etc/group");
    })?;
    Ok(format!("data: {data}\n\tend: {end}"))
}

/// Traces a process for `facs`, and clears `off` while it waits in its system call, `body`. The
/// helper does not write for it.
fn in_call(
    world: &World,
    facs: u32,
    off: u32,
    policy: &'static str,
    body: impl FnOnce(&User, &dyn Fn(&User)) + Send + 'static,
) -> Result<String> {
    const WAITS: usize = 1;
    const GOES_ON: usize = 2;
    let path = format!("/tmp/ktrace.{policy}");
    let file = world.file(&path, Disk::new());
    let module = world.load()?;
    set(&[("policy", policy), ("latency", "10000")])?;
    let Child { process, thread } = spawn("child", 1001);
    let child = Child { process, thread };
    me().trace(&path, facs, process).map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    let state = Arc::new(AtomicUsize::new(0));
    let its = Arc::clone(&state);
    child.run(move |user| {
        let wait = |user: &User| {
            its.store(WAITS, Ordering::SeqCst);
            while its.load(Ordering::SeqCst) != GOES_ON {
                user.sleep_on(&its);
            }
        };
        let _ = user.syscall(3, &[3, 0x2000_3000, 4096], |user| {
            body(user, &wait);
            Ok(0)
        });
        let queued = sysctl::number("kern.ktrace_rs.stats.queued").unwrap_or(u64::MAX);
        if policy == "return" && queued != 0 {
            violation!(Record, "{queued} bytes are queued when the call is over");
        }
    });
    while state.load(Ordering::SeqCst) != WAITS {
        me().sleep(10_000);
    }
    let cleared = me().clear(off, process);
    cleared.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    state.store(GOES_ON, Ordering::SeqCst);
    me().wakeup(&state);
    process.wait();
    let calls = facs & sys::KTRFAC_SYSCALL != 0;
    let text = if calls { finish(file, thread) } else { summary(&all_there(file, thread)) };
    module.unload_at_last();
    Ok(text)
}

fn set(values: &[(&str, &str)]) -> Result<()> {
    for (name, value) in values {
        let name = format!("kern.ktrace_rs.{name}");
        let set = match value.parse() {
            Ok(number) => sysctl::set_number(&name, number),
            Err(_) => sysctl::set_text(&name, value),
        };
        set.map_err(|errno| anyhow::anyhow!("{name}: errno {errno}"))?;
    }
    Ok(())
}

/// Checks that the file holds all records that the thread has made, and no others.
fn finish(file: &Vnode, thread: &'static Kt) -> String {
    let lost: u64 = dropped().iter().map(|(_, count)| count).sum();
    if lost != 0 {
        violation!(Record, "{lost} records are counted as dropped");
    }
    expect_quiet();
    summary(&expect_all(file, &[thread]))
}

/// Checks as [`finish`] does, but permits a call without a return, and a return without a call.
fn all_there(file: &Vnode, thread: &'static Kt) -> Found {
    let (found, made) = check(file, &[thread], Exact::Some);
    if found.records != made {
        violation!(Record, "{} records are in the file, and not {made:?}", found.total());
    }
    found
}
