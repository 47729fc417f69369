//! The loads: the work of traced processes, and the expected contents of the trace files.
//!
//! Each load is one run of the stand-in with one module, which is loaded for it, and unloaded at
//! its end.

pub mod bounds;
pub mod churn;
pub mod demo;
pub mod disks;
pub mod exits;
pub mod listing;
pub mod loss;
pub mod probes;
pub mod refused;
pub mod retire;
pub mod security;
pub mod withheld;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use ktrace_format::{Kind, PerKind};

use crate::heap;
use crate::host::violation;
use crate::ledger::{Exact, Found, check};
use crate::link::{Loaded, ModuleFile};
use crate::sysctl;
use crate::thread::Kt;
use crate::user::User;
use crate::vnode::{Disk, Vnode};

use kernel_sys as sys;

/// The environment of a load.
#[derive(Debug)]
pub struct World {
    /// The module's file.
    pub module: ModuleFile,
    /// The directory for files on the host.
    pub directory: PathBuf,
    /// The amount of work. One is the short form.
    pub scale: usize,
}

/// A load.
pub struct Load {
    /// Its name.
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// The function that runs it.
    pub run: fn(&World) -> Result<String>,
}

/// All loads, in the order in which they run.
pub const ALL: &[Load] = &[
    Load { name: "refused", about: "loads that the module refuses", run: refused::run },
    Load { name: "probes", about: "what is there for dtrace(1)", run: probes::run },
    Load { name: "sleepers", about: "processes that sleep", run: loss::sleepers },
    Load { name: "threads", about: "threads of one process that sleep", run: loss::threads },
    Load { name: "pingpong", about: "pairs of processes that wake each other", run: loss::pingpong },
    Load { name: "signals", about: "two processes that send each other signals", run: loss::signals },
    Load { name: "faults", about: "page faults", run: loss::faults },
    Load { name: "forks", about: "short children", run: loss::forks },
    Load { name: "policies", about: "all types of records, under each policy", run: loss::policies },
    Load { name: "limit", about: "a queue so small that records are lost", run: bounds::limit },
    Load { name: "slow", about: "a slow disk", run: disks::slow },
    Load { name: "full", about: "a disk that becomes full", run: disks::full },
    Load { name: "filesize", about: "a limit of the size of files", run: disks::filesize },
    Load { name: "failing", about: "a disk that fails writes", run: disks::failing },
    Load { name: "late", about: "a disk that fails what an unload writes at last", run: disks::late },
    Load { name: "hung", about: "a disk whose writes hang, beside one that works", run: disks::hung },
    Load {
        name: "interrupted",
        about: "a file system that signals interrupt, as NFS with intr",
        run: disks::interrupted,
    },
    Load { name: "dead", about: "a file system that is unmounted by force", run: disks::dead },
    Load {
        name: "suspended",
        about: "a file system that is suspended again and again",
        run: disks::suspended,
    },
    Load { name: "exits", about: "a process that is about to call the module", run: exits::run },
    Load { name: "lifetimes", about: "the module comes and goes while processes do", run: churn::lifetimes },
    Load { name: "set_id", about: "set-id programs, whose addresses no record has", run: withheld::set_id },
    Load {
        name: "cleared",
        about: "trace points that are switched off in a system call",
        run: withheld::cleared,
    },
    Load { name: "listing", about: "who sees what of traces, and does not wait for it", run: listing::run },
    Load { name: "memory", about: "memory after tracing has ended", run: retire::memory },
    Load {
        name: "retired",
        about: "tracing that ends while threads are in the tracer",
        run: retire::retired,
    },
    Load { name: "security", about: "system calls with random arguments", run: security::run },
];

impl World {
    /// Loads the module.
    pub fn load(&self) -> Result<Loaded> {
        self.module.load()?.map_err(|errno| anyhow!("MOD_LOAD: errno {errno}: {:?}", crate::console::take()))
    }

    /// Creates a trace file of root's on a disk.
    pub fn file(&self, path: &str, disk: &'static Disk) -> &'static Vnode {
        Vnode::create(&self.directory, path, disk, 0, sys::VREG)
    }
}

/// Checks that a file holds all records that the threads have made.
pub fn expect_all(vnode: &Vnode, threads: &[&'static Kt]) -> Found {
    let (found, made) = check(vnode, threads, Exact::All);
    for (kind, count) in made.iter() {
        if found.records.get(kind) != count {
            violation!(Record, "{} of {count} {} are in the file", found.records.get(kind), kind.name());
        }
    }
    found
}

/// Returns the number of records that the module has counted as dropped, by type.
pub fn dropped() -> PerKind<u64> {
    PerKind::from_fn(|kind| {
        sysctl::number(&format!("kern.ktrace_rs.stats.type.{}.dropped", kind.name())).unwrap_or(0)
    })
}

/// Checks that the records in a file, and those counted as dropped, add up to the records made.
/// Where tracing `ends` by itself, they may be fewer by one for each thread. A record made after the
/// end, before the thread reads `p_traceflag` again, is neither written nor counted.
pub fn expect_accounted(vnode: &Vnode, threads: &[&'static Kt], what: &str, ends: bool) -> (Found, u64) {
    let dropped = dropped();
    let (found, made) = check(vnode, threads, Exact::Marked);
    let (mut lost, mut missing) = (0, 0);
    for (kind, count) in made.iter() {
        let (there, gone) = (*found.records.get(kind), *dropped.get(kind));
        lost += gone;
        missing += count.saturating_sub(there + gone);
        if there + gone > *count || missing > if ends { threads.len() as u64 } else { 0 } {
            violation!(
                Record,
                "{what}: {count} {} were made, {there} are in the file, and {gone} are counted as dropped; \
                 up to this type, {missing} records are neither",
                kind.name()
            );
        }
    }
    (found, lost)
}

/// Checks that the engine holds no records, processes or files.
pub fn expect_quiet() {
    for name in ["queued", "procs", "files"] {
        let value = sysctl::number(&format!("kern.ktrace_rs.stats.{name}")).unwrap_or(u64::MAX);
        if value != 0 {
            violation!(Leak, "kern.ktrace_rs.stats.{name} is {value} when nobody is traced");
        }
    }
}

/// Checks that the module's peak memory stayed within the bound for these threads, which trace to
/// one file. The bound is that of the tests in the virtual machine.
pub fn expect_bounded(threads: &[&'static Kt]) {
    const LARGEST_RECORD: u64 = 2048;
    const SEGMENT: u64 = 4096 + 128;
    let setting = |name: &str| sysctl::number(&format!("kern.ktrace_rs.{name}")).unwrap_or(0);
    let pids: BTreeSet<i32> = threads.iter().map(|kt| kt.proc().pid()).collect();
    let bound = pids.len() as u64 * (2 * setting("queue_limit") / 4096 * SEGMENT + 3 * SEGMENT)
        + threads.len() as u64 * 2 * LARGEST_RECORD
        + 2 * 2 * setting("batch_bytes") * 9 / 8
        + 8192
        + 2 * setting("queue_limit") / 4096 * SEGMENT;
    let most = heap::usage().get("ktrace_rs").map_or(0, |used| used.most_bytes).unsigned_abs();
    if most == 0 || most > bound {
        violation!(Leak, "the module had {most} bytes at the most, with a bound of {bound}");
    }
}

/// Returns the current thread, as a program.
pub fn me() -> User {
    User::current()
}

/// Does one of each kind of traced operation, `n` times.
pub fn everything(user: &User, n: usize) {
    for index in 0..n as u64 {
        let _ = user.syscall(499, &[u64::MAX - 99, 0x2000_1000, index], |user| {
            user.namei(&format!("/etc/passwd{index}"));
            Ok(3)
        });
        user.trap(0x2000_3000 + index * 4096);
        let _ = user.syscall(551, &[3, 0x7fff_e000], |user| {
            user.structure(c"stat", &[index as u8; 224]);
            user.structure_error(c"sockaddr", &[index as u8; 16], (index % 2) as i32);
            Ok(0)
        });
        let _ = user.syscall(3, &[3, 0x2000_3000, 4096], |user| {
            user.sleep(1000 * (1 + user.random(50)));
            let data = vec![b'a' + (index % 26) as u8; user.random(600) as usize];
            user.genio(3, false, &data);
            Ok(data.len() as u64)
        });
        let _ = user.syscall(202, &[0x2000_5000, 2], |user| {
            user.sysctl(&mut [1, 1]);
            Ok(0)
        });
        let _ = user.syscall(560, &[4, 0x2000_6000], |user| {
            let events = [index as u8; 4 * 32];
            let address = user.put(&events);
            user.structarray(c"kevent", address, 4, 32);
            user.capfail(sys::CAPFAIL_SIGNAL, &9_i32.to_ne_bytes());
            user.capfail(sys::CAPFAIL_NAMEI, b"/etc/passwd\0");
            Err(93)
        });
        let text = format!("utrace {index}");
        let address = user.put(text.as_bytes());
        let _ = user.utrace(address, text.len());
        let own = user.process();
        user.kill(own, 30);
        user.return_to_user();
    }
}

/// Returns a short text with the number of records of each type.
pub fn summary(found: &Found) -> String {
    let types: Vec<String> = found
        .records
        .iter()
        .filter(|(_, count)| **count != 0)
        .map(|(kind, count): (Kind, &u64)| format!("{} {count}", kind.name()))
        .collect();
    format!("{} records, {} bytes: {}", found.total(), found.bytes, types.join(", "))
}
