//! The traced processes: the operations of their threads, and operations on them by others.

use std::mem;
use std::ops::Deref;
use std::ptr;
use std::sync::{Arc, Weak};
use std::thread::panicking;

use ktrace_doubles::thread::sleepless;
use ktrace_doubles::{Double, MaySleep};
use ktrace_engine::{Abandoned, BATCH_BYTES_MIN, Origin, Pending, Policy, Synchronous, WriteFailed};
use ktrace_format::{CapData, CapFail, HEADER_LEN, Kind, Payload};
use shuttle::sync::{Mutex, MutexGuard};

use crate::flaw::{self, Flaw};
use crate::history::{Fate, Made};
use crate::seen::{Seen, watch};
use crate::world::World;
use crate::{Failures, File, Step, Tasks, Trace};

/// The lengths of the records of [`Step::Sync`], [`Step::Quarter`] and [`Step::Long`]. No sum of
/// them is the length of a segment, which would be counted as a segment.
const SHORT: usize = HEADER_LEN + 8;
pub(crate) const QUARTER: usize = BATCH_BYTES_MIN / 4 - 8;
pub(crate) const LONG: usize = 3000;

/// A process. It has its trace until it exits.
pub(crate) struct Process {
    number: usize,
    /// The fields guarded by the process lock.
    locked: Mutex<Locked>,
}

struct Locked {
    trace: Option<Handle>,
    /// The opening that it was last traced to.
    opening: Option<usize>,
    exiting: bool,
    threads: usize,
    /// The file whose write failure ended tracing, if the process was not traced since.
    failed: Weak<File>,
}

/// A reference to a trace. It is leaked after a failure, so that checks of the state left behind do
/// not hide the failure.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Trace>);

impl Deref for Handle {
    type Target = Trace;

    fn deref(&self) -> &Trace {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if panicking() {
            mem::forget((Arc::clone(&self.0), self.0.set_file(None)));
        }
    }
}

impl Process {
    /// Creates a process that is traced to an opening of a file.
    pub(crate) fn new(
        world: &World,
        number: usize,
        threads: usize,
        (open, opening): &(Arc<File>, usize),
    ) -> Self {
        let trace = Handle(Trace::new(Arc::clone(&world.engine), MaySleep::new()));
        trace.stock(MaySleep::new(), open);
        let (old, seen) = watch(|| trace.set_file(Some(Arc::clone(open))));
        assert!(old.is_none(), "a new trace has a file");
        world.history.set(number, seen.order, Some(*opening));
        let locked = Locked {
            trace: Some(trace),
            opening: Some(*opening),
            exiting: false,
            threads,
            failed: Weak::new(),
        };
        Process { number, locked: Mutex::new(locked) }
    }

    /// Returns its trace, if it has not exited.
    pub(crate) fn trace(&self) -> Option<Handle> {
        self.lock().trace.clone()
    }

    /// Makes records until `left` bytes of a batch are free.
    pub(crate) fn fill(&self, world: &World, left: usize) {
        let trace = self.trace().expect("the process has not exited");
        let policy = world.engine.settings.policy();
        world.engine.settings.set_policy(Policy::Batch);
        let mut rest = BATCH_BYTES_MIN - left;
        for records in (1..=rest.div_ceil(QUARTER)).rev() {
            let len = rest / records;
            self.synchronous(world, &trace, len);
            rest -= len;
        }
        world.engine.settings.set_policy(policy);
    }

    /// Traces the process to another file, or none. Writes the pending records.
    pub(crate) fn set(&self, world: &World, file: Option<usize>) {
        let (new, opening) = file.map(|file| world.open(file)).unzip();
        let (trace, old, old_opening) = {
            let mut locked = self.lock();
            let Some(trace) = locked.trace.clone().filter(|_| !locked.exiting) else { return };
            if opening.is_some() {
                locked.failed = Weak::new();
            }
            let (old, seen) = watch(|| trace.set_file(new));
            world.history.set(self.number, seen.order, opening);
            if file.is_some() {
                // The thread that sets the file makes the KTR_PROCCTOR record.
                self.asynchronous(world, &trace);
            }
            (trace, old, mem::replace(&mut locked.opening, opening))
        };
        let Some(old) = old.filter(|_| !flaw::is(Flaw::NoFlushAtSet)) else { return };
        let made = world.history.taken(self.number, old_opening);
        self.flush(world, &trace, &old);
        let current = trace.is_traced();
        if !current && !world.scenario.sets_files() {
            assert_eq!(trace.queued(), 0, "bytes are queued after tracing has ended");
        }
        world.assert_written(&made);
    }

    /// Runs one of its threads.
    pub(crate) fn run(&self, world: &World, trace: Handle, steps: &[Step]) {
        let mut drain_wanted = false;
        // If the process exits late, the exit does the work of this return.
        let at_end = (!world.scenario.exit_late).then_some(&Step::Return);
        for step in steps.iter().chain(at_end) {
            match step {
                Step::Async => drain_wanted |= self.asynchronous(world, &trace),
                Step::Sync => drain_wanted |= self.synchronous(world, &trace, SHORT),
                Step::Quarter => drain_wanted |= self.synchronous(world, &trace, QUARTER),
                Step::Long => drain_wanted |= self.synchronous(world, &trace, LONG),
                Step::Suspend => {
                    let file = world.scenario.processes[self.number].file;
                    world.disk(file).suspend(|| drain_wanted |= self.synchronous(world, &trace, SHORT));
                }
                Step::Return if mem::take(&mut drain_wanted) => self.drain(world, &trace),
                Step::Return => {}
            }
        }
        if !world.scenario.exit_late && self.remove_thread() {
            self.exit(world, trace);
        }
    }

    /// Removes a thread from the process. Returns true if it was the last one.
    fn remove_thread(&self) -> bool {
        let mut locked = self.lock();
        locked.threads -= 1;
        locked.threads == 0
    }

    /// Ends the process.
    pub(crate) fn exit(&self, world: &World, trace: Handle) {
        let writes = !flaw::is(Flaw::NoFlushAtExit);
        if writes {
            self.drain(world, &trace);
        }
        self.lock().exiting = true;
        if writes {
            self.synchronous(world, &trace, SHORT);
        }
        let (taken, old, opening) = {
            let mut locked = self.lock();
            let (old, seen) = watch(|| trace.set_file(None));
            world.history.set(self.number, seen.order, None);
            (locked.trace.take(), old, locked.opening)
        };
        if writes {
            match &old {
                Some(old) => {
                    let made = world.history.taken(self.number, opening);
                    self.flush(world, &trace, old);
                    world.assert_written(&made);
                }
                // The thread that ended tracing may not have written all records yet.
                None => self.drain(world, &trace),
            }
            assert_eq!(trace.queued(), 0, "bytes are queued after an exit");
        }
        drop((taken, old));
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().expect("nobody panics under a process lock")
    }

    /// Makes a record where sleeping is not allowed. Returns whether a drain must follow.
    fn asynchronous(&self, world: &World, trace: &Handle) -> bool {
        let number = world.number();
        let text = format!("{number:07}");
        let data = CapData::Path(text.as_bytes());
        let payload = Payload::CapFail(CapFail { cap_type: 6, code: 5, svflags: 0, data });
        let (pending, seen) = watch(|| sleepless(|| trace.enqueue(&self.origin(), None, &payload)));
        let fate = if seen.pending {
            Fate::Taken
        } else if seen.dropped {
            Fate::NoRoom
        } else {
            Fate::Ignored
        };
        assert!(pending == Pending::Nothing || fate != Fate::Ignored);
        assert!(pending == Pending::Help || fate != Fate::NoRoom);
        let at_return = matches!(world.scenario.only_policy(), Some(Policy::Record | Policy::Return));
        assert!(pending != Pending::Nothing || fate != Fate::Taken || !at_return);
        self.note(world, Kind::CapFail, number, fate, &seen);
        pending != Pending::Nothing
    }

    /// Makes a record of `len` bytes where sleeping is allowed. Returns whether a drain must
    /// follow.
    fn synchronous(&self, world: &World, trace: &Handle, len: usize) -> bool {
        let number = world.number();
        let mut data = vec![0; len - HEADER_LEN];
        data[..8].copy_from_slice(&number.to_ne_bytes());
        let payload = Payload::User(&data);
        let record = Synchronous::payload(&payload);
        let ((pending, failures), seen) = watch(|| trace.commit(MaySleep::new(), &self.origin(), record));
        let fate = if seen.pending { Fate::Taken } else { Fate::Direct };
        self.note(world, Kind::User, number, fate, &seen);
        write_failed(world, failures);
        if world.scenario.only_policy() == Some(Policy::Record) && !world.scenario.sets_files() {
            let mut made = world.history.taken(self.number, None);
            made.retain(|(of, _)| *of == number);
            world.assert_written(&made);
        }
        pending != Pending::Nothing
    }

    fn note(&self, world: &World, kind: Kind, number: u64, fate: Fate, seen: &Seen) {
        world.history.made(Made {
            process: self.number,
            kind,
            number,
            order: seen.order,
            time: seen.reading,
            fate,
        });
    }

    /// Writes the records that are due before a return to user mode.
    pub(crate) fn drain(&self, world: &World, trace: &Handle) {
        let made = world.history.taken(self.number, None);
        write_failed(world, trace.drain(MaySleep::new()));
        let at_return = matches!(world.scenario.only_policy(), Some(Policy::Record | Policy::Return));
        // A thread that sets another file, or none, writes the records for the old one itself.
        if at_return && !world.scenario.sets_files() && trace.is_traced() {
            world.assert_written(&made);
        }
    }

    /// Writes all records made so far, as execve(2) does.
    pub(crate) fn exec(&self, world: &World) {
        let Some(trace) = self.trace() else { return };
        trace.want_flush();
        let made = world.history.taken(self.number, None);
        self.drain(world, &trace);
        // As in drain().
        if !world.scenario.sets_files() && trace.is_traced() {
            world.assert_written(&made);
        }
    }

    /// Writes the pending records, and all records in the stream of `file`.
    fn flush(&self, world: &World, trace: &Handle, file: &Arc<File>) {
        write_failed(world, trace.flush(MaySleep::new(), file));
    }

    /// Ends tracing to a file that could not be written, unless the process is traced to another
    /// one.
    fn abandon(&self, world: &World, failed: &WriteFailed<Double<Tasks>>) {
        let WriteFailed { file, .. } = failed;
        let mut locked = self.lock();
        let Some(trace) = locked.trace.clone() else { return };
        let (abandoned, seen) = watch(|| trace.abandon(failed));
        let before = locked.failed.ptr_eq(&Arc::downgrade(file));
        assert_eq!(abandoned == Abandoned::Before, before, "somebody is told twice");
        if abandoned == Abandoned::Now(()) {
            world.history.abandoned(self.number, seen.order);
            locked.failed = Arc::downgrade(file);
        }
    }

    /// Panics if the process is traced to that file.
    fn assert_left(&self, file: &Arc<File>) {
        let is_it = |current: &File| ptr::eq(current, Arc::as_ptr(file));
        let traced = self.trace().is_some_and(|trace| trace.with_file(|current| current.is_some_and(is_it)));
        assert!(!traced, "process {} is still traced to a file that failed", self.number);
    }

    fn origin(&self) -> Origin {
        let pid = i32::try_from(self.number).expect("there are few processes");
        Origin { pid, tid: i64::from(pid) + 1000, comm: *b"model\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" }
    }
}

/// Writes the pending records on a process's behalf.
pub(crate) fn help(world: &World, trace: &Handle) {
    trace.is_overdue(world.look());
    write_failed(world, trace.help(MaySleep::new()));
}

/// Ends the tracing of processes whose records could not be written.
fn write_failed(world: &World, failures: Failures) {
    for failed in failures {
        let WriteFailed { pid, errno, file, .. } = &failed;
        let (pid, errno) = (*pid, *errno);
        assert!(world.expects(errno), "no file fails with errno {}", errno.0);
        let process = &world.processes()[usize::try_from(pid).expect("the pid of a process")];
        world.history.told(process.number, world.number_of(file.storage()));
        if !flaw::is(Flaw::NotAbandoned) {
            process.abandon(world, &failed);
        }
        process.assert_left(file);
    }
}
