//! The cost of a record: the instructions that the module itself executes for it, compared with a
//! budget.
//!
//! The processor stops after each instruction, and counts if the next one is of the module's text.
//! The kernel's functions that the module calls do not count. The schedule is deterministic, and so
//! is the count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result, anyhow, ensure};
use kernel_sys as sys;

use crate::loads::{World, me};
use crate::user::{User, spawn};
use crate::vnode::Disk;
use crate::{link, machine, sysctl};

const POLICIES: [&str; 3] = ["record", "return", "batch"];

/// The number of system calls before those that count.
const WARM_UP: usize = 100;
/// The number of system calls that count, by their median: few of them write a batch.
const COUNTED: usize = 3;

/// Whether the instructions of the current call into the module count.
static COUNTS: AtomicBool = AtomicBool::new(false);
/// The counted instructions.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Calls into the module, step by step if the instructions count.
pub(crate) fn stepped<R>(call: impl FnOnce() -> R) -> R {
    if !COUNTS.load(Ordering::Relaxed) {
        return call();
    }
    machine::single_step(true);
    let result = call();
    machine::single_step(false);
    result
}

/// Counts the instruction at an address.
pub(crate) fn step(address: usize) {
    if link::is_module_text(address) {
        STEPS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes a system call. Returns the instructions for its SYSCALL record, and for its SYSRET record
/// with the way back to user mode.
fn cost(user: &User) -> [u64; 2] {
    let mut call = 0;
    STEPS.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let _ = user.syscall(3, &[3, 0x2000_3000, 4096], |_| {
        call = STEPS.load(Ordering::Relaxed);
        Ok(0)
    });
    COUNTS.store(false, Ordering::Relaxed);
    [call, STEPS.load(Ordering::Relaxed) - call]
}

/// Returns the cost under a policy.
fn measure(world: &World, policy: &str) -> Result<[u64; 2]> {
    let path = format!("/tmp/ktrace.{policy}");
    world.file(&path, Disk::new());
    let module = world.load()?;
    let child = spawn("budget", 1001);
    sysctl::set_text("kern.ktrace_rs.policy", policy)
        .and_then(|()| me().trace(&path, sys::KTRFAC_SYSCALL | sys::KTRFAC_SYSRET, child.process))
        .map_err(|errno| anyhow!("errno {errno}"))?;
    let (sender, receiver) = mpsc::channel();
    child.run(move |user| {
        for _ in 0..WARM_UP {
            let _ = user.syscall(3, &[3, 0x2000_3000, 4096], |_| Ok(0));
        }
        let costs: Vec<_> = (0..COUNTED).map(|_| cost(user)).collect();
        sender.send(costs).expect("somebody waits");
    });
    child.process.wait();
    module.unload_at_last();
    let costs = receiver.recv()?;
    Ok([0, 1].map(|record| {
        let mut costs: Vec<_> = costs.iter().map(|cost| cost[record]).collect();
        costs.sort_unstable();
        costs[COUNTED / 2]
    }))
}

/// Compares the cost under each policy with the text of a budget, which has its format in a comment.
pub fn check(world: &World, budget: &str) -> Result<String> {
    let (mut costs, mut faults) = (Vec::new(), Vec::new());
    for policy in POLICIES {
        let measured = measure(world, policy).context(policy)?;
        costs.push(format!("{policy} {measured:?}"));
        let line = budget.lines().find_map(|line| line.strip_prefix(&format!("{policy} ")));
        let allowed = line.with_context(|| format!("the budget has no line for {policy}"))?;
        let allowed: Vec<u64> = allowed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(allowed.len() == measured.len(), "the budget of {policy} is not two numbers");
        for ((kind, is), allowed) in ["SYSCALL", "SYSRET"].iter().zip(measured).zip(allowed) {
            let what = format!("{policy}, {kind}: {is} instructions");
            if is > allowed {
                faults.push(format!(
                    "{what}, over the budget of {allowed}: save some, or raise the budget and say why"
                ));
            } else if is * 10 < allowed * 9 {
                faults.push(format!("{what}, far below the budget of {allowed}: lower it to keep this"));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(format!("instructions for SYSCALL and SYSRET: {}", costs.join(", ")))
}
