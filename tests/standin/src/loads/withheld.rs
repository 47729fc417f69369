//! What no record is made of: the new program in an exec.

use anyhow::Result;
use kernel_sys as sys;

use super::{World, dropped, expect_all, expect_quiet, summary};
use crate::host::violation;
use crate::sysctl;
use crate::thread::Kt;
use crate::user::{ALL, spawn};
use crate::vnode::{Disk, Vnode};

/// A set-id program is executed under an ordinary user's trace, which ends, and under root's, which goes on.
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

/// Checks that the file holds all that the thread has made, and nothing else.
fn finish(file: &Vnode, thread: &'static Kt) -> String {
    let lost: u64 = dropped().iter().map(|(_, count)| count).sum();
    if lost != 0 {
        violation!(Record, "{lost} records are counted as dropped");
    }
    expect_quiet();
    summary(&expect_all(file, &[thread]))
}
