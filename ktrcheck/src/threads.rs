//! What the threads of all processes do, for their order in time and for CALL and RET.

use std::collections::HashMap;

use ktrace_format::Timespec;

use crate::What;

/// Threads of live processes that are followed. Records of others are counted, and no more.
pub const MAX_THREADS: usize = 1 << 18;

/// System calls that do not return (`sys/syscall.h`): exit(2), thr_exit(2), abort2(2).
const NEVER_RETURN: [i16; 3] = [1, 431, 463];

/// What is known of a thread and system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing: its tracing begins, or records are missing.
    Unknown,
    /// It is in user mode.
    User,
    /// It is in this system call.
    Call(i16),
}

/// A thread that is followed.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// When its last record was made.
    last: Timespec,
    place: Place,
    /// The gap that the place was known behind.
    gap: u64,
}

/// The beginning or the end of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// `KTR_SYSCALL`
    Call(i16),
    /// `KTR_SYSRET`
    Ret(i16),
}

/// The threads of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads {
    by_tid: HashMap<i64, Thread>,
}

impl Threads {
    /// Whether this thread is followed.
    pub(crate) fn has(&self, tid: i64) -> bool {
        self.by_tid.contains_key(&tid)
    }

    /// Forgets them, and says how many they were.
    pub(crate) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.by_tid).len()
    }

    /// Takes a record of a thread, which is new if it was not seen before. `gap` is another number
    /// than for the record before where records of the process may be missing between them. Says whether
    /// the record is older, and what is wrong with the system call that begins or ends.
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
                Place::Call(open) if open != code => Some(What::RetOfOther { code, open }),
                Place::Call(_) | Place::Unknown => None,
            },
        }
    }
}
