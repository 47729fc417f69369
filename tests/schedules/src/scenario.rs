//! The operations of each thread. The scheduler decides their order.

use ktrace_doubles::Faults;
use ktrace_engine::Policy;

/// An operation of a thread of a traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record made where sleeping is not allowed. Three of them fill a segment, and eight a
    /// stream.
    Async,
    /// A record made where sleeping is allowed, and written if the policy requires it.
    Sync,
    /// A record as [`Step::Sync`], so long that four of them are a batch.
    Quarter,
    /// A record as [`Step::Sync`], too long for a stream.
    Long,
    /// A record as [`Step::Sync`], made while the thread suspends the file system of its process's
    /// first file.
    Suspend,
    /// A return to user mode, which drains the process if this thread's records require it.
    Return,
}

/// An operation of a thread that belongs to no traced process, by index of process and of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The end of a process's tracing. The pending records are written.
    Clear(usize),
    /// A new opening of a file that the process is traced to from now on. This makes a record. The
    /// pending records for the old file are written.
    Set(usize, usize),
    /// A write of the pending records on a process's behalf.
    Help(usize),
    /// A request that a process's next drain write everything, as for execve(2).
    Exec(usize),
    /// A change of the number of segments that a queue may have.
    Limit(usize),
    /// A change of the policy.
    Policy(Policy),
    /// A change of the maximal number of records in a batch.
    Records(usize),
    /// A setting that records made where sleeping is not allowed are written at once, whatever the
    /// policy is.
    AtOnce,
    /// A suspension of a file's file system for a while.
    Suspend(usize),
    /// A check of a process's trace.
    Look(usize),
}

/// A process that is traced from the start.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// The index of the file that it is traced to. The file is opened once for all processes that
    /// start with it.
    pub file: usize,
    /// The steps of each of its threads.
    pub threads: Vec<Vec<Step>>,
}

/// A small world, to be run in many schedules.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The initial limit of a queue in segments.
    pub limit: usize,
    /// The initial policy.
    pub policy: Policy,
    /// The number of free bytes of a batch at the start, in the stream of the first process's file.
    /// If `None`, the stream is empty.
    pub left: Option<usize>,
    /// The files.
    pub files: Vec<Faults>,
    /// The traced processes.
    pub processes: Vec<ProcessPlan>,
    /// The actions of each of the other threads.
    pub others: Vec<Vec<Action>>,
    /// Whether the processes exit when all threads have ended, and not with their own last thread.
    pub exit_late: bool,
}

impl Scenario {
    /// Creates a scenario with one process of these threads, traced to a file without faults.
    pub fn of_threads<const THREADS: usize>(threads: [&[Step]; THREADS]) -> Self {
        let files = vec![Faults::NONE];
        Scenario {
            limit: 1,
            policy: Policy::Record,
            left: None,
            files,
            processes: Vec::new(),
            others: Vec::new(),
            exit_late: false,
        }
        .and_process(0, threads)
    }

    /// Adds a process.
    pub fn and_process<const THREADS: usize>(mut self, file: usize, threads: [&[Step]; THREADS]) -> Self {
        let threads = threads.iter().map(|steps| steps.to_vec()).collect();
        self.processes.push(ProcessPlan { file, threads });
        self
    }

    /// Adds a thread that belongs to no process.
    pub fn and_other(mut self, actions: &[Action]) -> Self {
        self.others.push(actions.to_vec());
        self
    }

    /// Adds a file.
    pub fn and_file(mut self, faults: Faults) -> Self {
        self.files.push(faults);
        self
    }

    /// Sets the faults of the first file.
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.files[0] = faults;
        self
    }

    /// Sets the initial limit.
    pub fn with_limit(mut self, segments: usize) -> Self {
        self.limit = segments;
        self
    }

    /// Sets the initial policy. The default is that of the stock backend.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the number of free bytes of a batch at the start, in the stream of the first process's
    /// file. It must not be zero: a full batch would be written.
    pub fn with_left(mut self, bytes: usize) -> Self {
        assert_ne!(bytes, 0);
        self.left = Some(bytes);
        self
    }

    /// Makes the processes exit when all threads have ended.
    pub fn with_late_exit(mut self) -> Self {
        self.exit_late = true;
        self
    }

    /// Returns the largest limit of a queue at any time, in segments.
    pub(crate) fn most_segments(&self) -> usize {
        let limits = self.others.iter().flatten().filter_map(|action| match action {
            Action::Limit(segments) => Some(*segments),
            _ => None,
        });
        limits.chain([self.limit]).max().unwrap_or(self.limit)
    }

    /// Returns whether an action changes a process's file, or ends its tracing.
    pub(crate) fn sets_files(&self) -> bool {
        self.others.iter().flatten().any(|action| matches!(action, Action::Set(..) | Action::Clear(_)))
    }

    /// Returns the policy, if it never changes.
    pub(crate) fn only_policy(&self) -> Option<Policy> {
        let changes = self.others.iter().flatten().any(|action| matches!(action, Action::Policy(_)));
        (!changes).then_some(self.policy)
    }
}
