//! Loads and unloads that the module refuses. Each gives one line with the reason, and changes
//! nothing.

use anyhow::{Result, bail};
use kernel_sys as sys;

use super::{World, me};
use crate::host::violation;
use crate::kvar;
use crate::link::ModuleFile;
use crate::text::{self, Stock};
use crate::user::{ALL, spawn};
use crate::vnode::Disk;
use crate::{console, event, proc, sysctl};

const EAGAIN: i32 = sys::EAGAIN.cast_signed();
const EBUSY: i32 = sys::EBUSY.cast_signed();
const EEXIST: i32 = sys::EEXIST.cast_signed();
const ENOEXEC: i32 = sys::ENOEXEC.cast_signed();
const EOPNOTSUPP: i32 = sys::EOPNOTSUPP.cast_signed();

fn refused(module: &ModuleFile, errno: i32, words: &str) -> Result<()> {
    console::take();
    match module.load()? {
        Ok(loaded) => {
            loaded.unload_at_last();
            bail!("it loads where it should not: {words}");
        }
        Err(is) if is == errno => {}
        Err(is) => bail!("errno {is}, and not {errno}: {words}"),
    }
    said(words);
    Ok(())
}

/// Checks that exactly one line was printed since the last check, and that it contains these words.
fn said(words: &str) {
    let lines = console::take();
    if lines.len() != 1 || !lines[0].contains(words) {
        violation!(Call, "one line with \"{words}\" was to be said, and not {lines:?}");
    }
}

/// Provokes each refusal in turn. Then loads the module, which refuses to unload while it traces.
pub fn run(world: &World) -> Result<String> {
    let module = &world.module;
    let child = spawn("traced", 1001);
    child.process.set_traceflag(sys::KTRFAC_SYSCALL);
    refused(module, EBUSY, &format!("pid {} is traced", child.process.pid()))?;
    child.process.set_traceflag(0);

    text::patch(Stock::ktrsyscall, true);
    refused(module, EBUSY, "another tool (dtrace?) has patched ktrsyscall, which begins with")?;
    text::patch(Stock::ktrsyscall, false);

    text::shorten(true);
    refused(module, EOPNOTSUPP, "is too short for a jump")?;
    text::shorten(false);

    text::add_later(true);
    refused(module, EOPNOTSUPP, "ktrnew is part of this kernel's ktrace, and unknown to this version")?;
    text::add_later(false);

    text::hide(Some("ktrnamei"));
    refused(module, EOPNOTSUPP, "this kernel has no ktrnamei: use one built with options KTRACE")?;
    text::hide(Some("ktr_geniosize"));
    refused(module, EOPNOTSUPP, "this kernel has no ktrace: use one built with options KTRACE")?;
    text::hide(None);

    proc::refuse_more(true);
    refused(module, EAGAIN, &format!("no process for the helper (errno {EAGAIN}): load again"))?;
    proc::refuse_more(false);

    let (ktrace, utrace) = (text::entry(Stock::sys_ktrace), text::entry(Stock::sys_utrace));
    let elsewhere = run as *const () as usize;
    kvar::set_system_calls(elsewhere, utrace);
    refused(module, EBUSY, "another module has replaced ktrace(2)")?;
    kvar::set_system_calls(ktrace, elsewhere);
    refused(module, EBUSY, "another module has replaced utrace(2)")?;
    kvar::set_system_calls(ktrace, utrace);
    event::set_other(elsewhere);
    refused(module, EBUSY, "another module handles TDA_MOD1 of ast(9)")?;
    event::set_other(0);
    text::set_handler(Some(elsewhere))?;
    refused(module, EBUSY, "another module has replaced the handler for TDA_KTRACE of ast(9)")?;
    text::set_handler(None)?;

    sysctl::take_stats(true);
    refused(module, EEXIST, "another module has stats of kern.ktrace_rs")?;
    sysctl::take_stats(false);

    let v = kvar::variables();
    // SAFETY: no other thread loads a module now.
    unsafe { (*v).kinst = true };
    refused(module, EBUSY, "kinst of dtrace is loaded")?;
    // SAFETY: no other thread loads a module now.
    unsafe { (*v).kinst = false };
    // SAFETY: no other thread reads the release now.
    unsafe { (*v).osreldate += 100_000 };
    refused(module, ENOEXEC, "built for FreeBSD")?;
    // SAFETY: no other thread reads the release now.
    unsafe { (*v).osreldate -= 100_000 };
    // SAFETY: no other thread writes the release now.
    let release = unsafe { (*v).osreldate };
    // SAFETY: no other thread reads the release now.
    unsafe { (*v).osreldate = release / 100_000 * 100_000 };
    refused(module, ENOEXEC, "is the oldest that works")?;
    // SAFETY: no other thread reads the release now.
    unsafe { (*v).osreldate = release };

    world.file("/tmp/ktrace.out", Disk::new());
    let loaded = world.load()?;
    said("traces from now on");
    let traced = me().trace("/tmp/ktrace.out", ALL, child.process);
    traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    let Err((loaded, EBUSY)) = loaded.unload(false) else { bail!("it unloads although it traces") };
    said(&format!("pid {} is traced", child.process.pid()));
    loaded.unload_at_last();
    said("unloaded");
    if child.process.traceflag() != 0 {
        violation!(Return, "a process is traced when the module has left");
    }
    let before = text::stock_calls();
    child.process.set_traceflag(sys::KTRFAC_SYSCALL);
    child.run(|user| {
        let _ = user.syscall(20, &[], |_| Ok(1));
    });
    child.process.wait();
    if text::stock_calls() == before {
        violation!(Text, "the stock backend is not called when the module has left");
    }
    Ok("15 refused, with a line each, and an unload; the stock backend is back".to_owned())
}
