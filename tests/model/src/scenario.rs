//! Who does what; the scheduler decides when.

use crate::Faults;

/// What a thread of a traced process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes a record where sleeping is not allowed. Three of them fill a segment.
    Async,
    /// Makes a record where sleeping is allowed, and writes it.
    Sync,
    /// Returns to user mode, which drains the queue if something was queued by this thread.
    Return,
}

/// What a thread does that is not one of the process's, by index of process and of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the tracing of a process, and writes what is queued.
    Clear(usize),
    /// Has a process traced to a file that is opened anew, which queues a record, and writes what
    /// is queued for the file before.
    Set(usize, usize),
    /// Writes what is queued for a process that does not get to it.
    Help(usize),
    /// Sets how many segments a queue may have.
    Limit(usize),
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
        Scenario { limit: 1, files, processes: Vec::new(), others: Vec::new(), exit_late: false }
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

    /// Whether a process's file is changed.
    pub(crate) fn sets_files(&self) -> bool {
        self.others.iter().flatten().any(|action| matches!(action, Action::Set(..)))
    }
}
