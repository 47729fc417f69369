//! Security: system calls of an ordinary user with random arguments. No forbidden memory is read,
//! and no kernel memory gets into a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use kernel_sys as sys;

use super::{World, dropped, expect_all, expect_quiet, me, summary};
use crate::host::violation;
use crate::kvar;
use crate::user::{ALL, Child, User, spawn};
use crate::vnode::{Disk, Vnode};

/// Runs eight processes of a user, traced by root, that make random calls. Forbidden calls must be
/// refused.
pub fn run(world: &World) -> Result<String> {
    let file = world.file("/tmp/ktrace.out", Disk::new());
    let own = Vnode::create(&world.directory, "/home/user/out", Disk::new(), 1001, sys::VREG);
    Vnode::create(&world.directory, "/home/user/dir", Disk::new(), 1001, sys::VDIR);
    Vnode::create(&world.directory, "/home/user/link", Disk::new(), 1001, sys::VLNK);
    let module = world.load()?;
    let children: Vec<Child> = (0..8).map(|_| spawn("fuzz", 1001)).collect();
    let victim = spawn("victim", 1002);
    for child in &children {
        let traced = me().trace("/tmp/ktrace.out", ALL, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let times = 300 * world.scale;
    for child in &children {
        let (refused, victim) = (Arc::clone(&refused), victim.process);
        child.run(move |user| {
            for _ in 0..times {
                let outcome = call(user, victim);
                refused.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
            }
        });
    }
    children.iter().for_each(|child| child.process.wait());
    if victim.process.traceflag() != 0 {
        violation!(Call, "a process of another user is traced");
    }
    victim.run(|_| ()).wait();
    let lost: u64 = dropped().iter().map(|(_, count)| count).sum();
    if lost != 0 {
        violation!(Record, "{lost} records are counted as dropped");
    }
    expect_quiet();
    let threads: Vec<_> = children.iter().map(|child| child.thread).collect();
    let found = expect_all(file, &threads);
    if !own.content().is_empty() {
        violation!(Record, "a user's file is traced to, of processes that root traces");
    }
    module.unload_at_last();
    Ok(format!("{}; {} calls refused", summary(&found), refused.load(Ordering::Relaxed)))
}

/// Returns an address, in user space or not.
fn address(user: &User, len: usize) -> usize {
    match user.random(8) {
        0 => 0,
        1 => usize::MAX - user.random(5000) as usize,
        // Kernel memory.
        2 => kvar::variables() as usize,
        3 => user.random(u64::MAX) as usize,
        _ => {
            let byte = user.random(256) as u8;
            user.put(&vec![byte; len])
        }
    }
}

/// Returns a length, plausible or not.
fn length(user: &User) -> usize {
    match user.random(8) {
        0 => 0,
        1 => usize::MAX - user.random(100) as usize,
        2 => 2048 + user.random(2) as usize,
        3 => user.random(1 << 33) as usize,
        _ => user.random(3000) as usize,
    }
}

fn call(user: &User, victim: &crate::Kp) -> crate::user::Outcome {
    let len = length(user);
    let fill = len.min(60_000);
    match user.random(9) {
        0 => {
            let address = address(user, fill);
            user.utrace(address, len)
        }
        1 => user.syscall(4, &[1, 2, 3], |user| {
            let parts: Vec<(usize, usize)> =
                (0..user.random(4)).map(|_| (address(user, 3000), user.random(3000) as usize)).collect();
            let error = if user.random(3) == 0 { user.random(90) as i32 } else { 0 };
            user.genio_at(user.random(1 << 32) as i32, user.random(2) == 0, &parts, error);
            if error == 0 { Ok(1) } else { Err(error) }
        }),
        2 => user.syscall(560, &[7; 8][..user.random(9) as usize], |user| {
            let items = match user.random(3) {
                0 => -1,
                1 => user.random(1 << 31) as i32,
                _ => user.random(200) as i32,
            };
            let size = [0, 1, 8, 64, 4096, 5000][user.random(6) as usize];
            let address = address(user, 60_000);
            user.structarray(c"kevent", address, items, size);
            Ok(0)
        }),
        3 => user.syscall(5, &[], |user| {
            let path: String = (0..user.random(1023)).map(|_| 'p').collect();
            user.namei(&path);
            Ok(0)
        }),
        4 => user.syscall(98, &[], |user| {
            // A socket address of the length in its first byte, with other memory behind it.
            let mut bytes = vec![0x5a; 64];
            bytes[0] = user.random(40) as u8;
            user.capfail(sys::CAPFAIL_SOCKADDR, &bytes);
            user.capfail(user.random(20) as u32 + 100, &bytes);
            Err(94)
        }),
        5 => user.syscall(202, &[], |user| {
            let mut name = vec![user.random(8) as i32; user.random(24) as usize + 1];
            if user.random(2) == 0 {
                name = vec![1, 1];
            }
            user.sysctl(&mut name);
            Ok(0)
        }),
        6 => user.syscall(551, &[], |user| {
            user.structure(c"sockaddr", &vec![1; user.random(130) as usize]);
            Ok(0)
        }),
        _ => {
            // Only root may change root's traces, and no user may trace another user's process.
            let path =
                ["/tmp/ktrace.out", "/home/user/out", "/home/user/dir", "/home/user/link", "/none", ""]
                    [user.random(6) as usize];
            let ops = user.random(8) as u32;
            let pid = match user.random(4) {
                0 => victim.pid(),
                1 => -victim.pid(),
                2 => user.random(1 << 20) as i32,
                _ => user.process().pid(),
            };
            // All operations must be refused, except KTROP_CLEARFILE.
            let outcome = user.ktrace(Some(path), ops, user.random(u64::MAX) as u32, pid);
            if outcome.is_ok() && ops & 3 != sys::KTROP_CLEARFILE {
                violation!(Call, "ktrace({path}, {ops}, ..., {pid}) succeeds");
            }
            outcome
        }
    }
}
