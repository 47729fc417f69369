//! Listing: a reader of `kern.ktrace_rs` sees what its credential permits, and waits for no trace
//! file.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use kernel_sys as sys;

use super::{World, expect_quiet, me};
use crate::user::{Child, User, spawn};
use crate::vnode::{Disk, Vnode};
use crate::{heap, sysctl};

const USER: u32 = 1001;
const OTHER: u32 = 1002;
const JAIL: i32 = 1;

const OWN: &str = "/home/user/a b";
const ROOTS: &str = "/tmp/ktrace.out";

const SEE_OTHER_UIDS: &CStr = c"security.bsd.see_other_uids";
const SEE_JAIL_PROC: &CStr = c"security.bsd.see_jail_proc";

/// Traces processes of two users and of a jail, one by its user, the others by root.
pub fn run(world: &World) -> Result<String> {
    world.file(ROOTS, Disk::new());
    let own = Vnode::create(&world.directory, OWN, Disk::new(), USER, sys::VREG);
    let module = world.load()?;
    let stop = Arc::new(AtomicBool::new(false));
    let by_user = spawn("by user", USER);
    let (by_root, other, jailed) = (spawn("by_root", USER), spawn("other", OTHER), spawn("jailed", 0));
    jailed.process.enter_jail(JAIL);
    for child in [&by_root, &other, &jailed] {
        trace(&me(), ROOTS, child)?;
    }
    ask(USER, 0, move || trace(&me(), OWN, &by_user))?;
    let children = [by_user, by_root, other, jailed];
    let processes = children.map(|child| {
        let stop = Arc::clone(&stop);
        child.run(move |user| rest(user, &stop))
    });
    let [by_user, by_root, other, jailed] = processes.map(crate::Kp::pid);

    let roots =
        Seen { pids: vec![by_user, by_root, other, jailed], files: vec![ROOTS, "/home/user/a\\040b"] };
    let users = Seen { pids: roots.pids.clone(), files: vec!["-", "/home/user/a\\040b"] };
    expect("root", &look(), &roots, true)?;
    let of_user = ask(USER, 0, look);
    // A process of the user's is traced to root's file, so the user sees its name.
    let users = Seen { files: vec![ROOTS, users.files[1]], ..users };
    expect("a user", &of_user, &users, true)?;
    expect("another user", &ask(1003, 0, look), &Seen { files: vec!["-", "-"], ..users.clone() }, true)?;

    let in_jail = Seen { pids: vec![jailed], files: vec![] };
    expect("root of the jail", &ask(0, JAIL, look), &in_jail, false)?;
    sysctl::set_policy(SEE_JAIL_PROC, false);
    let no_jails = Seen { pids: vec![by_user, by_root, other], files: users.files.clone() };
    expect("a user who sees no jails", &ask(USER, 0, look), &no_jails, false)?;
    sysctl::set_policy(SEE_JAIL_PROC, true);
    sysctl::set_policy(SEE_OTHER_UIDS, false);
    let alone = Seen { pids: vec![by_user, by_root], files: vec!["/home/user/a\\040b"] };
    expect("a user who sees no others", &ask(USER, 0, look), &alone, false)?;
    expect("root", &look(), &roots, true)?;
    sysctl::set_policy(SEE_OTHER_UIDS, true);

    own.remove();
    expect_no_wait(own, &roots)?;
    expect_sizes()?;
    stop.store(true, Ordering::Relaxed);
    processes.iter().for_each(|process| process.wait());
    expect_quiet();
    module.unload_at_last();
    Ok("everyone sees what they may, and waits for no file".to_owned())
}

/// The processes and files that a reader should see.
#[derive(Clone)]
struct Seen {
    pids: Vec<i32>,
    files: Vec<&'static str>,
}

/// The processes and files that a reader sees.
struct Looked {
    procs: String,
    files: String,
    /// A statistic, or the errno of reading it.
    stats: Result<u64, i32>,
    oldest: Result<u64, i32>,
}

fn look() -> Looked {
    let text = |name: &str| sysctl::text(&format!("kern.ktrace_rs.{name}")).unwrap_or_default();
    Looked {
        procs: text("procs"),
        files: text("files"),
        stats: sysctl::number("kern.ktrace_rs.stats.type.genio.records"),
        oldest: sysctl::number("kern.ktrace_rs.stats.oldest"),
    }
}

/// Returns a column of each line but the first two, which are headings.
fn column(text: &str, number: usize) -> Vec<&str> {
    text.lines().skip(2).filter_map(|line| line.split(' ').nth(number)).collect()
}

fn expect(who: &str, looked: &Looked, seen: &Seen, has_stats: bool) -> Result<()> {
    let Looked { procs, files, .. } = looked;
    let mut pids = column(procs, 0);
    let mut wanted: Vec<String> = seen.pids.iter().map(i32::to_string).collect();
    pids.sort_unstable();
    wanted.sort_unstable();
    ensure!(pids == wanted, "{who} sees the processes {procs:?}, not {wanted:?}");
    ensure!(column(files, 5) == seen.files, "{who} sees the files {files:?}, not {:?}", seen.files);
    let stats = [looked.stats, looked.oldest].map(|stat| stat.err());
    let wanted = if has_stats { None } else { Some(sys::EPERM.cast_signed()) };
    ensure!(stats == [wanted; 2], "{who} gets {stats:?} for statistics, not {wanted:?}");
    Ok(())
}

/// Checks that both lists can be read while a removed trace file is being written to.
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
    let (looked, by_user) = (look(), ask(USER, 0, look));
    let waited = !held.load(Ordering::Relaxed);
    done.store(true, Ordering::Relaxed);
    writer.wait();
    ensure!(!waited, "who reads the lists waits for a trace file");
    expect("root", &looked, roots, true)?;
    expect("a user", &by_user, roots, true)
}

/// Checks that a list's length can be read without an allocation, and is no less than the list. A
/// shorter buffer is an error.
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

/// Runs `body` as another user, in a jail unless `jail` is zero. Waits for the result.
fn ask<T: Send + 'static>(uid: u32, jail: i32, body: impl FnOnce() -> T + Send + 'static) -> T {
    let answer = Arc::new(Mutex::new(None));
    let child = spawn("asker", uid);
    child.process.enter_jail(jail);
    let inner = Arc::clone(&answer);
    child.run(move |_| *inner.lock().expect("nobody panics with it") = Some(body())).wait();
    let mut answer = answer.lock().expect("nobody panics with it");
    answer.take().expect("it has run")
}

/// Traces a process in a way that makes no records.
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
