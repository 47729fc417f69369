//! A scenario that runs, and what must hold after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ktrace_engine::{Counter as _, Errno, SEGMENT_LEN};
use ktrace_format::{Record, Records};
use shuttle::thread;

use crate::flaw::{self, Flaw};
use crate::history::History;
use crate::process::{Process, help};
use crate::{Action, Disk, EIO, ENOSPC, Engine, File, Scenario, clock, context};

/// Segments that a trace may keep besides those of its queue's limit and those that are written:
/// a few to be used again.
const KEPT: usize = 8;

/// Bytes of the largest record that is made.
const RECORD_MAX: usize = 1104;

/// What the threads of a scenario share.
///
/// After each schedule:
///
/// - every record that was made is in the file that was set when it was made, once and whole, or
///   counted as dropped; one that did not get through for want of room is followed by a `KTR_DROP`
///   on the next one, and on no other;
/// - the records of a process are in each file in the order in which they were made;
/// - a record that is dropped for another reason was for a file that had failed, and a file
///   that was full has no room for one more;
/// - nothing is queued, no process is traced, all files are closed and all memory is given back;
/// - no queue had more bytes than its limit, and no process more memory than twice that and a little.
pub struct World {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) history: History,
    disks: Vec<Arc<Disk>>,
    numbers: AtomicU64,
}

impl World {
    /// Runs a scenario in the schedule that is being tried, and checks what came of it.
    pub fn run(scenario: &Arc<Scenario>) {
        clock::reset();
        let before = context::segments();
        context::take_most_segments();
        let world = Arc::new(World::new(scenario));
        world.run_threads();
        let most = context::take_most_segments() - before;
        let bound = scenario.processes.len() * (2 * scenario.most_segments() + KEPT);
        assert!(most <= bound, "{most} segments at once");
        assert_eq!(context::segments(), before, "segments are left");
        world.check();
    }

    fn new(scenario: &Arc<Scenario>) -> Self {
        World {
            scenario: Arc::clone(scenario),
            engine: Arc::new(Engine::new()),
            history: History::default(),
            disks: scenario.files.iter().map(|faults| Disk::new(faults.clone())).collect(),
            numbers: AtomicU64::new(0),
        }
    }

    fn run_threads(self: &Arc<Self>) {
        self.set_limit(self.scenario.limit);
        let mut programs: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        let files: Vec<_> = (0..self.disks.len()).map(|file| self.open(file)).collect();
        let processes = self.scenario.processes.iter().enumerate().map(|(number, plan)| {
            Process::new(self, number, plan.threads.len(), plan.file, Arc::clone(&files[plan.file]))
        });
        let processes: Arc<Vec<_>> = Arc::new(processes.collect());
        drop(files);
        for (number, plan) in self.scenario.processes.iter().enumerate() {
            for thread in 0..plan.threads.len() {
                let (world, processes) = (Arc::clone(self), Arc::clone(&processes));
                let trace = processes[number].trace().expect("the process has not exited");
                programs.push(Box::new(move || {
                    processes[number].run(&world, trace, &world.scenario.processes[number].threads[thread]);
                }));
            }
        }
        for other in 0..self.scenario.others.len() {
            let (world, processes) = (Arc::clone(self), Arc::clone(&processes));
            programs.push(Box::new(move || {
                world.scenario.others[other].iter().for_each(|action| world.act(&processes, *action));
            }));
        }
        // One of them is run here: there are fewer schedules with a task less.
        let last = programs.pop();
        let threads: Vec<_> = programs.into_iter().map(thread::spawn).collect();
        last.into_iter().for_each(|program| program());
        for thread in threads {
            thread.join().expect("the thread ends");
        }
        for process in processes.iter() {
            if let Some(trace) = process.trace() {
                process.exit(self, trace);
            }
        }
    }

    fn act(&self, processes: &[Process], action: Action) {
        match action {
            Action::Clear(process) => processes[process].set(self, None),
            Action::Set(process, file) => processes[process].set(self, Some(file)),
            Action::Help(process) => {
                if let Some(trace) = processes[process].trace() {
                    help(self, &trace);
                }
            }
            Action::Limit(segments) => self.set_limit(segments),
            Action::Look(process) => {
                let Some(trace) = processes[process].trace() else { return };
                if flaw::is(Flaw::MutexTwice) {
                    trace.with_file(|_| trace.queued());
                }
                assert!(trace.queued() <= self.scenario.most_segments() * SEGMENT_LEN);
            }
        }
    }

    /// Opens a file for tracing.
    pub(crate) fn open(&self, file: usize) -> Arc<File> {
        Arc::new(File::new(Arc::clone(&self.engine), self.disks[file].open()))
    }

    /// A number for a record.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Whether there is a file that can fail like this.
    pub(crate) fn expects(&self, errno: Errno) -> bool {
        self.scenario.files.iter().any(|faults| match errno {
            EIO => !faults.broken.is_empty(),
            ENOSPC => faults.capacity.is_some(),
            _ => false,
        })
    }

    fn set_limit(&self, segments: usize) {
        let segments = if flaw::is(Flaw::HigherLimit) { segments + 1 } else { segments };
        self.engine.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
    }

    fn check(&self) {
        let contents: Vec<_> = self.disks.iter().map(|disk| disk.content()).collect();
        let files: Vec<Vec<Record<'_>>> = contents
            .iter()
            .map(|content| {
                Records::new(content)
                    .map(|record| record.expect("the file holds only whole records"))
                    .collect()
            })
            .collect();
        let failed: Vec<_> = self.disks.iter().map(|disk| disk.has_failed()).collect();
        self.history.check(&self.engine.stats, &files, &failed);

        let stats = &self.engine.stats;
        let bytes: usize = contents.iter().map(Vec::len).sum();
        assert_eq!(stats.bytes.fetch(), bytes as u64, "bytes written");
        assert_eq!(
            stats.commits.fetch(),
            self.disks.iter().map(|disk| disk.appends()).sum::<u64>(),
            "writes"
        );
        let gauges = [&stats.queued, &stats.procs, &stats.files].map(|gauge| gauge.fetch());
        assert_eq!(gauges, [0; 3], "still queued, traced, open");
        assert!(stats.queued_max() <= (self.scenario.most_segments() * SEGMENT_LEN) as u64);
        for (disk, content) in self.disks.iter().zip(&contents) {
            assert_eq!(disk.open_count(), 0, "a file is still open");
            if let Some(capacity) = disk.capacity() {
                assert!(content.len() <= capacity);
                let full = content.len() + RECORD_MAX > capacity;
                assert!(full || !disk.has_failed(), "a file failed that has room for one more record");
            }
        }
    }
}
