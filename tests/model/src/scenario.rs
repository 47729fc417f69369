//! Who does what; the scheduler decides when.

use ktrace_engine::Policy;

use crate::Faults;

/// What a thread of a traced process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a record where sleeping is not allowed. Three of them fill a segment, and eight a
    /// stream.
    Async,
    /// Makes a record where sleeping is allowed, and writes it if the policy wants that.
    Sync,
    /// As [`Step::Sync`], so long that four of them are a batch.
    Quarter,
    /// As [`Step::Sync`], and too long for a stream.
    Long,
    /// Suspends the file system that its process began to be traced to, and makes a record as
    /// [`Step::Sync`] before it resumes that.
    Suspend,
    /// Returns to user mode, which drains the process if something of this thread asks for it.
    Return,
}

/// What a thread does that is not one of the process's, by index of process and of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the tracing of a process, and writes what is pending.
    Clear(usize),
    /// Has a process traced to a file that is opened anew, which makes a record, and writes what
    /// is pending for the file before.
    Set(usize, usize),
    /// Writes what is pending for a process that does not get to it.
    Help(usize),
    /// Has the next drain of a process write everything, as execve(2) does it.
    Exec(usize),
    /// Sets how many segments a queue may have.
    Limit(usize),
    /// Sets when records are written.
    Policy(Policy),
    /// Sets how many records are a batch at the most.
    Records(usize),
    /// Has records that are made where sleeping is not allowed written at once, whatever the policy is.
    AtOnce,
    /// Suspends the file system of a file for a while.
    Suspend(usize),
    /// Looks at a process's trace.
    Look(usize),
}

/// A process that is traced from the start on.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// Index of the file that it is traced to, opened once for all that start with it.
    pub file: usize,
    /// What each of its threads does.
    pub threads: Vec<Vec<Step>>,
}

/// A small world, to be run in many schedules.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Segments that a queue may have at first.
    pub limit: usize,
    /// Bytes that each process says it needs in its queue.
    pub room: usize,
    /// When records are written at first.
    pub policy: Policy,
    /// Bytes that are left of a batch at first in the stream of the first process's file; the
    /// stream is empty if nothing is said.
    pub left: Option<usize>,
    /// The files.
    pub files: Vec<Faults>,
    /// The traced processes.
    pub processes: Vec<ProcessPlan>,
    /// What each of the other threads does.
    pub others: Vec<Vec<Action>>,
    /// Whether the processes exit when all threads have ended, and not with their last one.
    pub exit_late: bool,
}

impl Scenario {
    /// A process with these threads, traced to a file that works.
    pub fn of_threads<const THREADS: usize>(threads: [&[Step]; THREADS]) -> Self {
        let files = vec![Faults::NONE];
        Scenario {
            limit: 1,
            room: 0,
            policy: Policy::Record,
            left: None,
            files,
            processes: Vec::new(),
            others: Vec::new(),
            exit_late: false,
        }
        .and_process(0, threads)
    }

    /// One more process.
    pub fn and_process<const THREADS: usize>(mut self, file: usize, threads: [&[Step]; THREADS]) -> Self {
        let threads = threads.iter().map(|steps| steps.to_vec()).collect();
        self.processes.push(ProcessPlan { file, threads });
        self
    }

    /// One more thread that is none of the processes'.
    pub fn and_other(mut self, actions: &[Action]) -> Self {
        self.others.push(actions.to_vec());
        self
    }

    /// One more file.
    pub fn and_file(mut self, faults: Faults) -> Self {
        self.files.push(faults);
        self
    }

    /// With a first file that misbehaves.
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.files[0] = faults;
        self
    }

    /// With another limit at first.
    pub fn with_limit(mut self, segments: usize) -> Self {
        self.limit = segments;
        self
    }

    /// With processes that say that they need so many bytes in their queues.
    pub fn with_room(mut self, bytes: usize) -> Self {
        self.room = bytes;
        self
    }

    /// With another policy at first than that of the stock backend.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// With so many bytes left of a batch at first in the stream of the first process's file; none
    /// would be a batch that is written.
    pub fn with_left(mut self, bytes: usize) -> Self {
        assert_ne!(bytes, 0);
        self.left = Some(bytes);
        self
    }

    /// With processes that exit when all threads have ended.
    pub fn with_late_exit(mut self) -> Self {
        self.exit_late = true;
        self
    }

    /// Most segments that a queue may have at any time.
    pub(crate) fn most_segments(&self) -> usize {
        let limits = self.others.iter().flatten().filter_map(|action| match action {
            Action::Limit(segments) => Some(*segments),
            _ => None,
        });
        limits.chain([self.limit]).max().unwrap_or(self.limit)
    }

    /// Whether a process's file is changed, or tracing ended by another one.
    pub(crate) fn sets_files(&self) -> bool {
        self.others.iter().flatten().any(|action| matches!(action, Action::Set(..) | Action::Clear(_)))
    }

    /// The policy, if it is the same all the time.
    pub(crate) fn only_policy(&self) -> Option<Policy> {
        let changes = self.others.iter().flatten().any(|action| matches!(action, Action::Policy(_)));
        (!changes).then_some(self.policy)
    }
}
