//! The lists of traced processes and trace files, as text with one line for each. They show the
//! processes that ps(1) would show to the caller. For [`with_engine`](crate::module::with_engine).
//!
//! No function here holds a reference to a trace file. Dropping the last one closes the file, which
//! may have to wait for its vnode.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use ktrace_engine::{Errno, FileProgress};
use ktrace_format::MAXCOMLEN;

use crate::kernel::context::MaySleep;
use crate::kernel::proc::{CurrentThread, ProcLocked, for_traced, gather_traced};
use crate::kernel::sysctl::Answer;
use crate::platform::{File, Trace};
use crate::sysctls::letters_of;

/// Maximum length of a line, or of the column names, without the name of a file.
const LINE_MAX: usize = 192;

/// Spare lines for processes that appear between the query for a list's size and the query for the
/// list.
const LINES_SPARE: usize = 8;

/// A process with a trace, visible to the current thread.
struct Seen {
    pid: i32,
    comm: [u8; MAXCOMLEN + 1],
    facilities: u32,
    /// True if the current thread may also debug the process. Only then is its trace file named, as
    /// in procstat(1).
    is_open: bool,
    trace: Arc<Trace>,
}

/// A trace file of such a process.
struct SeenFile {
    number: u64,
    progress: FileProgress,
    name: Arc<[u8]>,
    is_open: bool,
}

/// Returns the maximum length of either list in bytes, if little changes. May sleep; allocates
/// nothing.
pub(crate) fn room(may_sleep: MaySleep) -> usize {
    let td = CurrentThread::get();
    let mut room: usize = LINE_MAX * LINES_SPARE;
    for_traced(may_sleep, |p| {
        if p.can_see(td) {
            room = room.saturating_add(LINE_MAX).saturating_add(name_len(p, td));
        }
    });
    room
}

/// Returns the length that the name of a process's trace file has in a line.
fn name_len(p: &ProcLocked, td: CurrentThread) -> usize {
    let len = |file: Option<&File>| file.map_or(0, |file| word_len(file.storage().name()));
    p.trace().filter(|_| p.can_debug(td)).map_or(0, |trace| trace.with_file(len))
}

/// Prints the traced processes. May sleep.
pub(crate) fn procs(may_sleep: MaySleep, answer: &mut Answer) -> Result<(), Errno> {
    answer.add(b"\nPID COMMAND FACILITIES QUEUED DROPPED BYTES FILE")?;
    let mut line = String::new();
    for Seen { pid, comm, facilities, is_open, trace } in seen(may_sleep) {
        let Some((progress, name)) = trace.progress(|file| Arc::clone(file.storage().name())) else {
            continue;
        };
        let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        // Writing to a String does not fail.
        line.clear();
        let _ = write!(line, "\n{pid} ");
        word(&mut line, comm);
        line.push(' ');
        let before = line.len();
        line.extend(letters_of(facilities).map(char::from));
        if line.len() == before {
            line.push('-');
        }
        let _ = write!(line, " {} {} {} ", progress.queued, progress.dropped, progress.made);
        path(&mut line, &name, is_open);
        answer.add(line.as_bytes())?;
    }
    Ok(())
}

/// Prints the trace files of these processes, in the order in which the files were opened. Leaves
/// out files whose opener the current thread may not see, because the numbers cover all processes
/// that are traced to a file. May sleep.
pub(crate) fn files(may_sleep: MaySleep, answer: &mut Answer) -> Result<(), Errno> {
    answer.add(b"\nPROCS RECORDS COMMITS BYTES GATHERED FILE")?;
    let td = CurrentThread::get();
    let file_of = |Seen { is_open, trace, .. }: Seen| {
        let look = |file: &File| {
            let storage = file.storage();
            storage.can_be_seen(td).then(|| SeenFile {
                number: storage.number(),
                progress: file.progress(),
                name: Arc::clone(storage.name()),
                is_open,
            })
        };
        trace.progress(look)?.1
    };
    // Boxed, because the sort keeps some elements on the stack.
    let mut files: Vec<Box<SeenFile>> =
        seen(may_sleep).into_iter().filter_map(file_of).map(Box::new).collect();
    files.sort_unstable_by_key(|file| file.number);
    let mut line = String::new();
    for same in files.chunk_by(|one, other| one.number == other.number) {
        let Some(SeenFile { progress, name, .. }) = same.last().map(Box::as_ref) else { continue };
        let FileProgress { records, commits, bytes, gathered } = progress;
        line.clear();
        // Writing to a String does not fail.
        let _ = write!(line, "\n{} {records} {commits} {bytes} {gathered} ", same.len());
        path(&mut line, name, same.iter().any(|file| file.is_open));
        answer.add(line.as_bytes())?;
    }
    Ok(())
}

/// Returns all processes with a trace that the current thread may see. They are no longer locked.
fn seen(may_sleep: MaySleep) -> Vec<Seen> {
    let td = CurrentThread::get();
    gather_traced(may_sleep, |p, give| {
        if !p.can_see(td) {
            return;
        }
        // If this reference is dropped here, it is not the last one: the process holds another.
        if let Some(trace) = p.clone_trace() {
            let (pid, facilities) = (p.proc().pid(), p.proc().traceflag());
            give(Seen { pid, comm: p.comm(), facilities, is_open: p.can_debug(td), trace });
        }
    })
}

/// Adds the name of a file, or a dash if it has no name or the name may not be shown.
fn path(line: &mut String, name: &[u8], is_open: bool) {
    if is_open && !name.is_empty() {
        word(line, name);
    } else {
        line.push('-');
    }
}

/// Adds bytes as one word. A byte that would end the word, or is not printable, becomes a backslash
/// and three octal digits, as in vis(3). So does a backslash.
fn word(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if is_plain(*byte) {
            line.push(char::from(*byte));
        } else {
            let _ = write!(line, "\\{byte:03o}");
        }
    }
}

/// Returns the length of the word that [`word`] adds.
fn word_len(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| if is_plain(*byte) { 1 } else { 4 }).sum()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}
