//! State of all threads, for timestamp order and the pairing of CALL and RET.

use std::collections::HashMap;

use ktrace_format::Timespec;

use crate::What;

/// Maximum number of threads of live processes that are followed. Records of further threads are
/// only counted.
pub const MAX_THREADS: usize = 1 << 18;

/// System calls that do not return (`sys/syscall.h`): exit(2), thr_exit(2), abort2(2).
const NEVER_RETURN: [i16; 3] = [1, 431, 463];

/// sigreturn(2). On arm64 it clears the thread's system call number (`sys_sigreturn()` in
/// `sys/arm64/arm64/exec_machdep.c`), which its return then lacks.
const SIGRETURN: i16 = 417;
const NO_NUMBER: i16 = -1;

/// Position of a thread with respect to system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Unknown: its tracing begins, or records are missing.
    Unknown,
    /// The thread is in user mode.
    User,
    /// The thread is in this system call.
    Call(i16),
}

/// A thread that is followed.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// Time of the thread's last record.
    last: Timespec,
    place: Place,
    /// Gap number at the time when `place` was last valid.
    gap: u64,
}

/// The beginning or the end of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// A `KTR_SYSCALL` of this system call.
    Call(i16),
    /// A `KTR_SYSRET` of this system call.
    Ret(i16),
}

/// The threads of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads {
    by_tid: HashMap<i64, Thread>,
}

impl Threads {
    /// Returns whether this thread is followed.
    pub(crate) fn has(&self, tid: i64) -> bool {
        self.by_tid.contains_key(&tid)
    }

    /// Removes all threads and returns their number.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.by_tid).len()
    }

    /// Follows a record of a thread, and adds the thread if it is new.
    ///
    /// `gap` changes wherever records of the process may be missing. Returns whether the record is
    /// too old, and any fault of the system call that begins or ends.
    pub(crate) fn follow(
        &mut self,
        tid: i64,
        time: Timespec,
        gap: u64,
        edge: Option<Edge>,
    ) -> [Option<What>; 2] {
        let new = Thread { last: time, place: Place::Unknown, gap };
        let thread = self.by_tid.entry(tid).or_insert(new);
        let older = (time < thread.last).then_some(What::OlderInThread);
        thread.last = time;
        if thread.gap != gap {
            thread.gap = gap;
            thread.place = Place::Unknown;
        }
        [older, edge.and_then(|edge| thread.cross(edge))]
    }
}

impl Thread {
    fn cross(&mut self, edge: Edge) -> Option<What> {
        match edge {
            Edge::Call(code) => {
                let next = if NEVER_RETURN.contains(&code) { Place::Unknown } else { Place::Call(code) };
                match std::mem::replace(&mut self.place, next) {
                    Place::Call(open) => Some(What::CallInCall { code, open }),
                    Place::User | Place::Unknown => None,
                }
            }
            Edge::Ret(code) => match std::mem::replace(&mut self.place, Place::User) {
                Place::User => Some(What::RetWithoutCall(code)),
                Place::Call(SIGRETURN) if code == NO_NUMBER => None,
                Place::Call(open) if open != code => Some(What::RetOfOther { code, open }),
                Place::Call(_) | Place::Unknown => None,
            },
        }
    }
}
