//! Listing: who reads the lists of `kern.ktrace_rs` waits for no trace file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use kernel_sys as sys;

use super::{World, expect_quiet, me};
use crate::user::{Child, User, spawn};
use crate::vnode::{Disk, Vnode};
use crate::{heap, sysctl};

const USER: u32 = 1001;

const OWN: &str = "/home/user/a b";
const ROOTS: &str = "/tmp/ktrace.out";

/// Two processes of a user are traced, one by that user, and the other by root.
pub fn run(world: &World) -> Result<String> {
    world.file(ROOTS, Disk::new());
    let own = Vnode::create(&world.directory, OWN, Disk::new(), USER, sys::VREG);
    let module = world.load()?;
    let stop = Arc::new(AtomicBool::new(false));
    let by_user = spawn("by user", USER);
    let by_root = spawn("by_root", USER);
    trace(&me(), ROOTS, &by_root)?;
    ask(USER, move || trace(&me(), OWN, &by_user))?;
    let processes = [by_user, by_root].map(|child| {
        let stop = Arc::clone(&stop);
        child.run(move |user| rest(user, &stop))
    });
    let seen =
        Seen { pids: processes.map(crate::Kp::pid).to_vec(), files: vec![ROOTS, "/home/user/a\\040b"] };
    expect("root", &look(), &seen)?;
    expect("the user", &ask(USER, look), &seen)?;
    expect("another user", &ask(1002, look), &Seen { files: vec!["-", "-"], ..seen.clone() })?;
    own.remove();
    expect_no_wait(own, &seen)?;
    expect_sizes()?;
    stop.store(true, Ordering::Relaxed);
    processes.iter().for_each(|process| process.wait());
    expect_quiet();
    module.unload_at_last();
    Ok("who reads the lists waits for no file".to_owned())
}

/// What somebody is to see.
#[derive(Clone)]
struct Seen {
    pids: Vec<i32>,
    files: Vec<&'static str>,
}

/// What somebody sees.
struct Looked {
    procs: String,
    files: String,
}

fn look() -> Looked {
    let text = |name: &str| sysctl::text(&format!("kern.ktrace_rs.{name}")).unwrap_or_default();
    Looked { procs: text("procs"), files: text("files") }
}

/// A column of each line but the two of the names.
fn column(text: &str, number: usize) -> Vec<&str> {
    text.lines().skip(2).filter_map(|line| line.split(' ').nth(number)).collect()
}

fn expect(who: &str, looked: &Looked, seen: &Seen) -> Result<()> {
    let Looked { procs, files } = looked;
    let mut pids = column(procs, 0);
    let mut wanted: Vec<String> = seen.pids.iter().map(i32::to_string).collect();
    pids.sort_unstable();
    wanted.sort_unstable();
    ensure!(pids == wanted, "{who} sees the processes {procs:?}, not {wanted:?}");
    ensure!(column(files, 5) == seen.files, "{who} sees the files {files:?}, not {:?}", seen.files);
    Ok(())
}

/// While a removed trace file is being written to, both lists can be read.
fn expect_no_wait(vnode: &'static Vnode, roots: &Seen) -> Result<()> {
    let (held, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writer = {
        let (held, done) = (Arc::clone(&held), Arc::clone(&done));
        spawn("writer", USER).run(move |user| {
            vnode.locked(|| {
                held.store(true, Ordering::Relaxed);
                for _ in 0..2000 {
                    if !done.load(Ordering::Relaxed) {
                        user.sleep(1_000_000);
                    }
                }
                held.store(false, Ordering::Relaxed);
            });
        })
    };
    while !held.load(Ordering::Relaxed) {
        me().sleep(1_000_000);
    }
    let (looked, by_user) = (look(), ask(USER, look));
    let waited = !held.load(Ordering::Relaxed);
    done.store(true, Ordering::Relaxed);
    writer.wait();
    ensure!(!waited, "who reads the lists waits for a trace file");
    expect("root", &looked, roots)?;
    expect("a user", &by_user, roots)
}

/// How long a list is can be asked for nothing, and it is not longer; less room than that is an error.
fn expect_sizes() -> Result<()> {
    let ever = || heap::usage().get("ktrace_rs").map_or(0, |used| used.ever);
    for name in ["kern.ktrace_rs.procs", "kern.ktrace_rs.files"] {
        let before = ever();
        let probe = sysctl::read(name, None).map(|(_, size)| size);
        ensure!(ever() == before, "{name} allocates for a size");
        let size = sysctl::read(name, Some(usize::MAX)).map(|(_, size)| size);
        ensure!(
            matches!((probe, size), (Ok(probe), Ok(size)) if probe >= size),
            "{name}: {probe:?}, {size:?}"
        );
        let exact = sysctl::read(name, size.ok()).map(|(text, _)| text.len());
        ensure!(exact == size, "{name}: {exact:?} with room for {size:?}");
        let short = sysctl::read(name, size.ok().map(|size| size - 1));
        ensure!(short == Err(sys::ENOMEM.cast_signed()), "{name}: {short:?} with less room");
    }
    Ok(())
}

/// Runs `body` as another user, and waits for it.
fn ask<T: Send + 'static>(uid: u32, body: impl FnOnce() -> T + Send + 'static) -> T {
    let answer = Arc::new(Mutex::new(None));
    let child = spawn("asker", uid);
    let inner = Arc::clone(&answer);
    child.run(move |_| *inner.lock().expect("nobody panics with it") = Some(body())).wait();
    let mut answer = answer.lock().expect("nobody panics with it");
    answer.take().expect("it has run")
}

/// Has a process traced that makes no records.
fn trace(user: &User, path: &str, child: &Child) -> Result<()> {
    let outcome = user.ktrace(Some(path), sys::KTROP_SET, sys::KTRFAC_USER, child.process.pid());
    ensure!(outcome.is_ok(), "ktrace: {outcome:?}");
    Ok(())
}

fn rest(user: &User, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        user.sleep(1_000_000);
    }
}
