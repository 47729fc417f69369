//! What is traced now, as text: a line for each process, and for each trace file, as ps(1) would
//! show them to whoever asks. For [`with_engine`](crate::module::with_engine).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use ktrace_format::MAXCOMLEN;

use crate::kernel::context::MaySleep;
use crate::kernel::proc::{Thread, gather_traced};
use crate::platform::{File, Trace};
use crate::sysctls::letters_of;

/// A process with a trace, which the current thread may see.
struct Seen {
    pid: i32,
    comm: [u8; MAXCOMLEN + 1],
    facilities: u32,
    /// It may also be debugged, and so its trace file be named (procstat(1) asks for the same).
    is_open: bool,
    trace: Arc<Trace>,
}

/// The processes that are traced. May sleep.
pub(crate) fn procs(may_sleep: MaySleep) -> String {
    let mut text = String::from("\nPID COMMAND FACILITIES QUEUED DROPPED BYTES FILE");
    for Seen { pid, comm, facilities, is_open, trace } in seen(may_sleep) {
        let Some(progress) = trace.progress() else { continue };
        let letters = String::from_utf8_lossy(&letters_of(facilities).collect::<Vec<_>>()).into_owned();
        let letters = if letters.is_empty() { "-" } else { &letters };
        let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        let (queued, dropped, made) = (progress.queued, progress.dropped, progress.made);
        // Writing to a String does not fail.
        let _ = write!(text, "\n{pid} ");
        word(&mut text, comm);
        let _ = write!(text, " {letters} {queued} {dropped} {made} ");
        path(&mut text, &progress.file, is_open);
    }
    text
}

/// The files that they are traced to. May sleep.
pub(crate) fn files(may_sleep: MaySleep) -> String {
    let mut files: Vec<(Arc<File>, usize, bool)> = Vec::new();
    for Seen { is_open, trace, .. } in seen(may_sleep) {
        let Some(progress) = trace.progress() else { continue };
        match files.iter_mut().find(|(file, ..)| Arc::ptr_eq(file, &progress.file)) {
            Some((_, procs, may_name)) => {
                *procs = procs.saturating_add(1);
                *may_name |= is_open;
            }
            None => files.push((progress.file, 1, is_open)),
        }
    }
    let mut text = String::from("\nPROCS RECORDS COMMITS BYTES GATHERED FILE");
    for (file, procs, is_open) in files {
        let progress = file.progress();
        let _ = write!(
            text,
            "\n{procs} {} {} {} {} ",
            progress.records, progress.commits, progress.bytes, progress.gathered
        );
        path(&mut text, &file, is_open);
    }
    text
}

/// All processes with a trace that the current thread may see. They are not locked any more.
fn seen(may_sleep: MaySleep) -> Vec<Seen> {
    let td = Thread::current();
    gather_traced(may_sleep, |p, give| {
        if !p.can_see(td) {
            return;
        }
        // A reference that is not kept is not the last one: the process has another.
        if let Some(trace) = p.clone_trace() {
            let (pid, facilities) = (p.proc().pid(), p.proc().traceflag());
            give(Seen { pid, comm: p.comm(), facilities, is_open: p.can_debug(td), trace });
        }
    })
}

/// The name of a file, or a dash where it has none (any more) that may be told.
fn path(text: &mut String, file: &File, is_open: bool) {
    match is_open.then(|| file.storage().path()).flatten() {
        Some(path) => word(text, &path),
        None => text.push('-'),
    }
}

/// Adds bytes as one word: what would end it, or is not printed, is a backslash and three octal
/// digits, as vis(3) has them.
fn word(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
}
