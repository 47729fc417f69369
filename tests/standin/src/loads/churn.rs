//! Lifetimes: the module is loaded and unloaded while processes fork, execute, exit, send signals,
//! and are traced by others. Files are truncated and removed meanwhile. Each record in a file must
//! have been made by its thread, in that order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use kernel_sys as sys;

use super::{World, everything, me};
use crate::console;
use crate::host::violation;
use crate::ledger::{self, Exact};
use crate::link;
use crate::sysctl;
use crate::text;
use crate::thread;
use crate::user::{ALL, Child, User, spawn};
use crate::vnode::{Disk, Vnode};

/// The number of trace files.
const FILES: usize = 4;

struct Shared {
    stop: AtomicBool,
    directory: PathBuf,
    disk: &'static Disk,
    /// The files that have the names now.
    files: Mutex<[&'static Vnode; FILES]>,
    /// The removed files.
    removed: Mutex<Vec<&'static Vnode>>,
    pids: Mutex<Vec<&'static crate::Kp>>,
    ktraces: AtomicUsize,
    begun: AtomicUsize,
    born: AtomicUsize,
}

impl Shared {
    /// Returns the youngest process that has not exited.
    fn last(&self) -> Option<&'static crate::Kp> {
        let mut pids = self.pids.lock().expect("nobody panics with it");
        pids.retain(|process| !process.has_exited());
        pids.last().copied()
    }

    /// Returns the file that has a name now.
    fn file(&self, number: usize) -> &'static Vnode {
        self.files.lock().expect("nobody panics with it")[number]
    }

    /// Removes a file, and creates another one with its name.
    fn replace(&self, number: usize) {
        let old = self.file(number);
        old.remove();
        let new = create(&self.directory, self.disk, number);
        self.files.lock().expect("nobody panics with it")[number] = new;
        self.removed.lock().expect("nobody panics with it").push(old);
    }

    /// Returns a random process, which may be exiting.
    fn any(&self, user: &User) -> &'static crate::Kp {
        let mut pids = self.pids.lock().expect("nobody panics with it");
        pids.retain(|process| !process.has_exited());
        pids[user.random(pids.len() as u64) as usize]
    }
}

/// Loads and unloads the module while the processes run.
pub fn lifetimes(world: &World) -> Result<String> {
    let disk = Disk::new();
    let children: Vec<Child> = (0..8).map(|_| spawn("churn", 1001)).collect();
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        directory: world.directory.clone(),
        disk,
        files: Mutex::new(std::array::from_fn(|number| create(&world.directory, disk, number))),
        removed: Mutex::new(Vec::new()),
        pids: Mutex::new(children.iter().map(|child| child.process).collect()),
        ktraces: AtomicUsize::new(0),
        begun: AtomicUsize::new(0),
        born: AtomicUsize::new(0),
    });
    ledger::begin_churn();
    for child in &children {
        let shared = Arc::clone(&shared);
        child.run(move |user| {
            while !shared.stop.load(Ordering::Relaxed) {
                step(user, &shared);
            }
        });
    }
    let times = 10 * world.scale;
    let stock = text::stock_calls();
    let (mut made, mut found, mut removed) = (0, 0, 0);
    for _ in 0..times {
        let loaded = world.load()?;
        let _ =
            sysctl::set_text("kern.ktrace_rs.policy", ["record", "return", "batch"][me().random(3) as usize]);
        for _ in 0..me().random(4) {
            let lines = sysctl::text("kern.ktrace_rs.procs").unwrap_or_default();
            let _ = sysctl::text("kern.ktrace_rs.files");
            me().sleep(200_000 + lines.len() as u64);
        }
        me().sleep(me().random(4_000_000));
        made += sysctl::number("kern.ktrace_rs.stats.records").unwrap_or(0);
        loaded.unload_at_last();
        // No process is traced now.
        let threads = thread::all();
        let mut files = std::mem::take(&mut *shared.removed.lock().expect("nobody panics with it"));
        removed += files.len();
        files.extend(*shared.files.lock().expect("nobody panics with it"));
        for file in files {
            found += ledger::check(file, &threads, Exact::Churn).0.total();
            file.truncate();
        }
        me().sleep(me().random(200_000));
    }
    shared.stop.store(true, Ordering::Relaxed);
    children.iter().for_each(|child| child.process.wait());
    while let Some(process) = shared.last() {
        process.wait();
    }
    console::take();
    let begun = shared.begun.load(Ordering::Relaxed);
    if begun == 0 {
        violation!(Record, "nobody was traced");
    }
    Ok(format!(
        "{times} times loaded and unloaded, {} ktrace(2), {begun} of which began a trace, {} processes, {made} records \
         written, {found} of them found, {removed} files removed, {} calls of the stock backend between",
        shared.ktraces.load(Ordering::Relaxed),
        shared.born.load(Ordering::Relaxed),
        text::stock_calls() - stock,
    ))
}

/// Creates a trace file of an ordinary user's.
fn create(directory: &Path, disk: &'static Disk, number: usize) -> &'static Vnode {
    Vnode::create(directory, &format!("/tmp/ktrace.{number}"), disk, 1001, sys::VREG)
}

/// Does one random operation of a process.
fn step(user: &User, shared: &Arc<Shared>) {
    match user.random(10) {
        0..=3 => everything(user, 1),
        4 => {
            let child = user.sys_fork("churn");
            shared.born.fetch_add(1, Ordering::Relaxed);
            shared.pids.lock().expect("nobody panics with it").push(child.process);
            let inner = Arc::clone(shared);
            child.run(move |user| {
                everything(user, 1);
                user.exec("other", user.random(4) == 0);
                if user.random(3) == 0 {
                    user.thread_create("second", |user| everything(user, 1));
                }
                everything(user, 1);
                if user.random(2) == 0 {
                    step(user, &inner);
                }
            });
            if user.random(2) == 0 {
                child.process.wait();
            }
        }
        5 => user.exec("again", false),
        6 => user.kill(shared.any(user), 30),
        7 => {
            let other = shared.any(user);
            if !other.has_exited() {
                user.look_at_trace(other);
            }
        }
        _ => ktrace(user, shared),
    }
}

/// Begins or ends the tracing of a random process, or truncates or replaces a file.
fn ktrace(user: &User, shared: &Shared) {
    if !link::is_loaded() {
        // The stock backend's ktrace(2) does nothing in the stand-in.
        return;
    }
    let file = user.random(FILES as u64) as usize;
    let path = format!("/tmp/ktrace.{file}");
    let other = shared.any(user);
    let descend = if user.random(2) == 0 { sys::KTRFLAG_DESCEND } else { 0 };
    let inherit = if user.random(2) == 0 { sys::KTRFAC_INHERIT } else { 0 };
    shared.ktraces.fetch_add(1, Ordering::Relaxed);
    let _ = match user.random(48) {
        0..=22 => {
            let outcome = user.ktrace(Some(&path), sys::KTROP_SET | descend, ALL | inherit, other.pid());
            shared.begun.fetch_add(usize::from(outcome.is_ok()), Ordering::Relaxed);
            outcome
        }
        23..=26 => user.ktrace(Some(&path), sys::KTROP_SET, ALL | inherit, -other.pid()),
        27..=34 => user.ktrace(None, sys::KTROP_CLEAR | descend, ALL, other.pid()),
        35..=38 => user.ktrace(Some(&path), sys::KTROP_CLEARFILE, 0, 0),
        39..=46 => user.ktrace(None, sys::KTROP_CLEAR, sys::KTRFAC_STRUCT, other.pid()),
        _ => {
            match user.random(10) {
                // A truncated file's content is not checked.
                0 => shared.file(file).truncate(),
                1..=5 => shared.replace(file),
                _ => {}
            }
            Ok(0)
        }
    };
}
