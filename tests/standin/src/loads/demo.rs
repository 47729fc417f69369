//! A small load as a first example.

use std::io::Write;

use anyhow::Result;
use kernel_sys as sys;

use super::{World, expect_all, expect_quiet, me};
use crate::console;
use crate::kdump;
use crate::sysctl;
use crate::user::{ALL, User, spawn};
use crate::vnode::Disk;

/// Traces two processes and a child of one of them. Prints the trace as kdump(1) would, and the
/// counters.
pub fn run(world: &World, out: &mut impl Write) -> Result<()> {
    let file = world.file("/tmp/ktrace.out", Disk::new());
    let module = world.load()?;
    let version = sysctl::text("kern.ktrace_rs.version").unwrap_or_default();
    writeln!(out, "ktrace_rs {version} is loaded: all of the kernel's trace points lead into it.\n")?;
    let (shell, cat) = (spawn("sh", 1001), spawn("cat", 1001));
    for child in [&shell, &cat] {
        let traced = me().trace("/tmp/ktrace.out", ALL | sys::KTRFAC_INHERIT, child.process);
        traced.map_err(|errno| anyhow::anyhow!("ktrace: errno {errno}"))?;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let shell_runs = shell.run(move |user| sender.send(run_shell(user)).expect("somebody waits"));
    let cat_runs = cat.run(run_cat);
    shell_runs.wait();
    cat_runs.wait();
    let born = receiver.recv()?;
    let stats: Vec<(&str, u64)> = ["records", "bytes", "commits", "dropped", "helped", "queued"]
        .into_iter()
        .map(|name| (name, sysctl::number(&format!("kern.ktrace_rs.stats.{name}")).unwrap_or(0)))
        .collect();
    expect_quiet();
    module.unload_at_last();
    expect_all(file, &[shell.thread, cat.thread, born]);
    kdump::print(&file.content(), out)?;
    writeln!(out)?;
    for (name, value) in stats {
        writeln!(out, "kern.ktrace_rs.stats.{name}: {value}")?;
    }
    for line in console::take() {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "\nThe module is unloaded, and the kernel as it was before. Every record that was made is above."
    )?;
    Ok(())
}

/// Reads a file and writes it out.
fn run_cat(cat: &User) {
    const TEXT: &[u8] = b"root:*:0:0:Charlie &:/root:/bin/sh\n";
    let _ = cat.syscall(499, &[u64::MAX - 99, 0x2000_1000, 0], |cat| {
        cat.namei("/etc/passwd");
        Ok(3)
    });
    let _ = cat.syscall(551, &[3, 0x7fff_e000], |cat| {
        cat.structure(c"stat", &[0; 224]);
        Ok(0)
    });
    cat.trap(0x2000_3000);
    let _ = cat.syscall(3, &[3, 0x2000_3000, 4096], |cat| {
        cat.sleep(50_000);
        cat.genio(3, false, TEXT);
        Ok(TEXT.len() as u64)
    });
    let _ = cat.syscall(4, &[1, 0x2000_3000, TEXT.len() as u64], |cat| {
        cat.genio(1, true, TEXT);
        Ok(TEXT.len() as u64)
    });
    let _ = cat.syscall(6, &[3], |_| Ok(0));
}

/// Starts a child, waits for it, and gets a signal. Returns the child's thread.
fn run_shell(shell: &User) -> &'static crate::Kt {
    let child = shell.sys_fork("sh");
    let runs = child.run(|user| {
        let _ = user.syscall(59, &[0x2000_4000, 0x2000_4100, 0x2000_4200], |user| {
            user.namei("/bin/hello");
            user.exec("hello", false);
            Ok(0)
        });
        let _ = user.syscall(202, &[0x2000_5000, 2], |user| {
            user.sysctl(&mut [1, 1]);
            Ok(0)
        });
        let address = user.put(b"hello");
        let _ = user.utrace(address, 5);
    });
    let _ = shell.syscall(7, &[u64::MAX, 0, 0], |shell| {
        shell.sleep(200_000);
        runs.wait();
        shell.kill(shell.process(), 20);
        Err(4)
    });
    child.thread
}
