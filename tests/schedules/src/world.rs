//! A running scenario, and the checks after it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ktrace_doubles::{EIO, ENOSPC, MaySleep, clock, decode, memory};
use ktrace_engine::{BATCH_BYTES_MIN, Counter as _, Errno, LATENCY_MAX, SEGMENT_LEN};
use ktrace_format::{Kind, Record};
use shuttle::thread;

use crate::flaw::{self, Flaw};
use crate::history::{History, numbers};
use crate::process::{LONG, Process, QUARTER, help};
use crate::{Action, Disk, Engine, File, OpenFile, Scenario, Step, seen};

/// The number of segments of a queue's own.
const OWN: usize = 2;

/// The state that the threads of a scenario share.
///
/// After each schedule:
///
/// - Every record made is in the file that was set when it was made, once and whole, or is counted
///   as dropped. A record dropped for lack of room is followed by a `KTR_DROP` mark on the next
///   record, and on no other.
/// - The records of a process are in each file in the order in which they were made. The records of
///   all processes are, too, if there was always room in the file's stream.
/// - A record dropped for another reason was for a file that had failed. A file that was full has
///   no room for one more record. A failure ends the tracing of no process that has lost no record,
///   and each process that has lost one is reported.
/// - Nothing is pending, no process is traced, all files are closed and all memory is freed.
/// - No queue had more bytes than its limit. No process had more memory than twice that and a
///   little.
///
/// When a process leaves the engine, the records that it had to write are in the file. No thread
/// waits for ever, not even the one that has suspended the file system.
pub struct World {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) history: History,
    disks: Vec<Arc<Disk>>,
    processes: OnceLock<Vec<Process>>,
    numbers: AtomicU64,
    looks: AtomicU32,
}

impl World {
    /// Runs a scenario in the schedule that is being tried, and checks the result.
    pub fn run(scenario: &Arc<Scenario>) {
        clock::set(Duration::from_secs(1_000_000_000));
        seen::reset();
        let before = memory::segments();
        memory::take_most_segments();
        let world = Arc::new(World::new(scenario));
        world.run_threads();
        let most = memory::take_most_segments() - before;
        let in_queues = scenario.processes.len() * 2 * scenario.most_segments();
        let of_threads: usize = scenario.processes.iter().map(|process| process.threads.len()).sum();
        // A thread has a supply at hand for the queue that it writes.
        let own = OWN * (scenario.processes.len() + of_threads + scenario.others.len());
        let ready = 2 * scenario.most_segments();
        assert!(most <= in_queues + own + ready, "{most} segments at once");
        assert_eq!(memory::segments(), before, "segments are left");
        world.check();
    }

    fn new(scenario: &Arc<Scenario>) -> Self {
        let disks: Vec<_> = scenario.files.iter().map(|_| Disk::new()).collect();
        disks.iter().zip(&scenario.files).for_each(|(disk, faults)| disk.set_faults(faults.clone()));
        World {
            scenario: Arc::clone(scenario),
            engine: Arc::new(Engine::new()),
            history: History::default(),
            disks,
            processes: OnceLock::new(),
            numbers: AtomicU64::new(0),
            looks: AtomicU32::new(1),
        }
    }

    fn run_threads(self: &Arc<Self>) {
        let settings = &self.engine.settings;
        self.set_limit(self.scenario.limit);
        settings.set_policy(self.scenario.policy);
        settings.set_batch_bytes(BATCH_BYTES_MIN).expect("the size is in range");
        settings.set_latency(LATENCY_MAX).expect("the latency is in range");
        let mut programs: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        let files: Vec<_> = (0..self.disks.len()).map(|file| self.open(file)).collect();
        let processes = self
            .scenario
            .processes
            .iter()
            .enumerate()
            .map(|(number, plan)| Process::new(self, number, plan.threads.len(), &files[plan.file]));
        let processes = self.processes.get_or_init(|| processes.collect());
        drop(files);
        if let Some(left) = self.scenario.left {
            processes[0].fill(self, left);
        }
        for (number, plan) in self.scenario.processes.iter().enumerate() {
            for thread in 0..plan.threads.len() {
                let world = Arc::clone(self);
                let trace = processes[number].trace().expect("the process has not exited");
                programs.push(Box::new(move || {
                    let steps = &world.scenario.processes[number].threads[thread];
                    world.processes()[number].run(&world, trace, steps);
                }));
            }
        }
        for other in 0..self.scenario.others.len() {
            let world = Arc::clone(self);
            programs.push(Box::new(move || {
                world.scenario.others[other].iter().for_each(|action| world.act(*action));
            }));
        }
        // One of them runs here: one task less means fewer schedules.
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

    /// Returns the traced processes.
    pub(crate) fn processes(&self) -> &[Process] {
        self.processes.get().expect("the processes are made first")
    }

    /// Returns a file by its index.
    pub(crate) fn disk(&self, file: usize) -> &Disk {
        &self.disks[file]
    }

    /// Returns the index of an open file.
    pub(crate) fn number_of(&self, open: &OpenFile) -> usize {
        self.disks.iter().position(|disk| Arc::ptr_eq(open.disk(), disk)).expect("one of the files")
    }

    fn act(&self, action: Action) {
        let processes = self.processes();
        match action {
            Action::Clear(process) => processes[process].set(self, None),
            Action::Set(process, file) => processes[process].set(self, Some(file)),
            Action::Help(process) => {
                if let Some(trace) = processes[process].trace() {
                    help(self, &trace);
                }
            }
            Action::Exec(process) => processes[process].exec(self),
            Action::Limit(segments) => self.set_limit(segments),
            Action::Policy(policy) => self.engine.settings.set_policy(policy),
            Action::Records(records) => {
                self.engine.settings.set_batch_records(records).expect("the number is in range");
            }
            Action::AtOnce => self.engine.settings.set_at_once(Kind::CapFail.facility()),
            Action::Suspend(file) => self.disk(file).suspend(|| ()),
            Action::Look(process) => {
                let Some(trace) = processes[process].trace() else { return };
                assert!(trace.queued() <= self.scenario.most_segments() * SEGMENT_LEN);
            }
        }
    }

    /// Opens a file for tracing. Also returns the number of the opening.
    pub(crate) fn open(&self, file: usize) -> (Arc<File>, usize) {
        let storage = self.disks[file].open();
        let open = File::new(MaySleep::new(), Arc::clone(&self.engine), storage);
        (open, self.history.opened(file))
    }

    /// Returns a number for a check for overdue records.
    pub(crate) fn look(&self) -> u32 {
        self.looks.fetch_add(1, Relaxed)
    }

    /// Checks that the records with these numbers are in the files. Files that have failed are
    /// skipped.
    pub(crate) fn assert_written(&self, records: &[(u64, usize)]) {
        for (disk, at) in self.disks.iter().enumerate() {
            let of_disk = || records.iter().filter(|(_, of)| *of == disk);
            if of_disk().count() == 0 || has_failed(at) {
                continue;
            }
            let content = at.content();
            let found = numbers(&decode(&content));
            for (number, _) in of_disk() {
                assert!(found.contains(number), "record {number} is not written yet");
            }
        }
    }

    /// Returns the length of the largest record in bytes.
    fn largest(&self) -> usize {
        let steps = self.scenario.processes.iter().flat_map(|process| process.threads.iter().flatten());
        let of_step = |step: &Step| match step {
            Step::Long => LONG,
            Step::Quarter => QUARTER,
            _ => 0,
        };
        let filled = if self.scenario.left.is_some() { QUARTER } else { 1104 };
        steps.map(of_step).max().unwrap_or(0).max(filled)
    }

    /// Returns a number for a record.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Returns whether a file can fail with this error.
    pub(crate) fn expects(&self, errno: Errno) -> bool {
        self.scenario.files.iter().any(|faults| match errno {
            EIO => !faults.broken.is_empty(),
            ENOSPC => faults.capacity.is_some(),
            _ => false,
        })
    }

    fn set_limit(&self, segments: usize) {
        let segments = if flaw::is(Flaw::HigherLimit) { segments + 1 } else { segments };
        self.engine.settings.set_queue_limit(segments * SEGMENT_LEN).expect("the limit is in range");
    }

    fn check(&self) {
        let contents: Vec<_> = self.disks.iter().map(|disk| disk.content()).collect();
        let files: Vec<Vec<Record<'_>>> = contents.iter().map(|content| decode(content)).collect();
        let failed: Vec<_> = self.disks.iter().map(|disk| has_failed(disk)).collect();
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
        assert_eq!(gauges, [0; 3], "still pending, traced, open");
        assert!(stats.queued_max() <= (self.scenario.most_segments() * SEGMENT_LEN) as u64);
        for (disk, (content, faults)) in self.disks.iter().zip(contents.iter().zip(&self.scenario.files)) {
            assert_eq!(disk.open_count(), 0, "a file is still open");
            if let Some(capacity) = faults.capacity {
                assert!(content.len() <= capacity);
                let full = content.len() + self.largest() > capacity;
                assert!(full || !has_failed(disk), "a file failed that has room for one more record");
            }
        }
    }
}

/// Returns whether a write has failed.
fn has_failed(disk: &Disk) -> bool {
    disk.attempts() != disk.appends()
}
