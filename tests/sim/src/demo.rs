//! A small load as a first example.

use std::io::{self, Write};
use std::thread;

use ktrace_engine::Stats;
use ktrace_format::Kind;

use crate::{Disk, Inherit, System, Thread};

/// The facilities of all record types.
const ALL: u32 = 0x00ff_ffff;

/// Runs two processes and a child of one of them, all traced to one file. Returns the file's bytes,
/// and the system for its counters.
pub fn run() -> (Vec<u8>, std::sync::Arc<System>) {
    let system = System::boot();
    let disk = Disk::new();
    let file = system.open(disk.open());
    let (shell, cat) = (system.spawn("sh"), system.spawn("cat"));
    for process in [&shell, &cat] {
        process.trace_self(ALL, Inherit::Yes, &file);
    }
    drop(file);
    thread::scope(|scope| {
        scope.spawn(|| run_cat(cat));
        scope.spawn(|| run_shell(shell));
    });
    (disk.content(), system)
}

/// Reads a file and writes it out.
fn run_cat(cat: Thread) {
    const TEXT: &[u8] = b"root:*:0:0:Charlie &:/root:/bin/sh\n";
    cat.syscall(499, &[u64::MAX - 99, 0x2000_1000, 0, 0], |td| {
        td.namei("/etc/passwd");
        Ok(3)
    });
    cat.syscall(551, &[3, 0x7fff_e000], |td| {
        td.structure("stat", &[0; 224]);
        Ok(0)
    });
    cat.fault(0x2000_3000, 2);
    cat.fault_end(0);
    cat.syscall(3, &[3, 0x2000_3000, 4096], |td| {
        td.context_switch(true, false, "biord");
        td.context_switch(false, false, "biord");
        td.genio(3, 0, TEXT);
        Ok(TEXT.len() as u64)
    });
    cat.syscall(4, &[1, 0x2000_3000, TEXT.len() as u64], |td| {
        td.genio(1, 1, TEXT);
        Ok(TEXT.len() as u64)
    });
    cat.syscall(6, &[3], |_| Ok(0));
    cat.exit();
}

/// Starts a child, waits for it, and gets a signal.
fn run_shell(shell: Thread) {
    let mut child = None;
    shell.syscall(2, &[], |td| {
        let born = td.fork();
        let pid = born.process().pid();
        child = Some(born);
        u64::try_from(pid).map_err(|_| 12)
    });
    if let Some(child) = child {
        thread::scope(|scope| {
            scope.spawn(|| {
                child.syscall(202, &[0x2000_5000, 2], |td| {
                    td.sysctl("kern.ostype");
                    Ok(0)
                });
                child.syscall(335, &[0x2000_6000, 5], |td| {
                    td.utrace(b"hello");
                    Ok(0)
                });
                child.exit();
            });
        });
    }
    shell.syscall(7, &[u64::MAX, 0, 0], |td| {
        td.context_switch(true, false, "wait");
        td.context_switch(false, false, "wait");
        td.signal(20, 0x20_1a40);
        Err(4)
    });
    shell.exit();
}

/// Prints the counters with the names that `sysctl kern.ktrace_rs.stats` has for them.
pub fn print_counters(system: &System, out: &mut impl Write) -> io::Result<()> {
    use ktrace_engine::Counter as _;
    let stats = &system.engine().stats;
    writeln!(out, "records: {}", Stats::<crate::Host>::total(&stats.records))?;
    writeln!(out, "dropped: {}", Stats::<crate::Host>::total(&stats.dropped))?;
    writeln!(out, "bytes: {}", stats.bytes.fetch())?;
    writeln!(out, "commits: {}", stats.commits.fetch())?;
    writeln!(out, "queued: {}", stats.queued.fetch())?;
    writeln!(out, "queued_max: {}", stats.queued_max())?;
    writeln!(out, "procs: {}", stats.procs.fetch())?;
    writeln!(out, "files: {}", stats.files.fetch())?;
    for kind in Kind::ALL {
        let (records, dropped) = (stats.records.get(kind).fetch(), stats.dropped.get(kind).fetch());
        if records != 0 || dropped != 0 {
            writeln!(out, "type.{}: {records} written, {dropped} dropped", kind.name())?;
        }
    }
    Ok(())
}
