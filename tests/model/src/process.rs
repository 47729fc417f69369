//! The traced processes: what their threads do, and what others do to them.

use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::panicking;

use ktrace_engine::{Origin, Pending, Synchronous, WriteFailed};
use ktrace_format::{CapData, CapFail, Kind, Payload};
use shuttle::sync::{Mutex, MutexGuard};

use crate::flaw::{self, Flaw};
use crate::history::{Fate, Made};
use crate::task::{Seen, watch};
use crate::world::World;
use crate::{File, MaySleep, Step, Trace};

/// A process, whose trace is there until it exits.
pub(crate) struct Process {
    number: usize,
    /// The process lock.
    locked: Mutex<Locked>,
}

struct Locked {
    trace: Option<Handle>,
    exiting: bool,
    threads: usize,
}

/// A reference to a trace. After a failure it is not given up: what else is found wrong with what
/// the failure left would hide it.
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
            mem::forget(Arc::clone(&self.0));
        }
    }
}

impl Process {
    /// A process that is traced to `file`.
    pub(crate) fn new(world: &World, number: usize, threads: usize, file: usize, open: Arc<File>) -> Self {
        let trace = Handle(Arc::new(Trace::new(Arc::clone(&world.engine), MaySleep::new())));
        let (old, seen) = watch(|| trace.set_file(Some(open)));
        assert!(old.is_none(), "a new trace has a file");
        world.history.set(number, seen.locked_at, Some(file));
        let locked = Mutex::new(Locked { trace: Some(trace), exiting: false, threads });
        Process { number, locked }
    }

    /// Its trace, if it has not exited.
    pub(crate) fn trace(&self) -> Option<Handle> {
        self.lock().trace.clone()
    }

    /// Has it traced to another file, or none, and writes what is queued.
    pub(crate) fn set(&self, world: &World, file: Option<usize>) {
        let new = file.map(|file| world.open(file));
        let (trace, old) = {
            let locked = self.lock();
            let Some(trace) = locked.trace.clone().filter(|_| !locked.exiting) else { return };
            let (old, seen) = watch(|| trace.set_file(new));
            world.history.set(self.number, seen.locked_at, file);
            if file.is_some() {
                // KTR_PROCCTOR is made by whoever sets the file.
                asynchronous(world, &trace, self.number);
            }
            (trace, old)
        };
        if flaw::is(Flaw::ClosedUnderMutex) {
            trace.with_file(|_| drop(old));
            return;
        }
        let was_traced = old.is_some();
        drop(old);
        if was_traced {
            let drained = drain(world, &trace);
            if drained.is_ok() && file.is_none() && !world.scenario.sets_files() {
                assert_eq!(trace.queued(), 0, "bytes are queued after tracing has ended");
            }
        }
    }

    /// One of its threads runs.
    pub(crate) fn run(&self, world: &World, trace: Handle, steps: &[Step]) {
        let mut drain_wanted = false;
        for step in steps.iter().chain([&Step::Return]) {
            match step {
                Step::Async => drain_wanted |= asynchronous(world, &trace, self.number),
                Step::Sync => synchronous(world, &trace, self.number),
                Step::Return if mem::take(&mut drain_wanted) => {
                    let _ = drain(world, &trace);
                }
                Step::Return => {}
            }
        }
        if !world.scenario.exit_late && self.remove_thread() {
            self.exit(world, trace);
        }
    }

    /// Takes a thread off the process; true if it was the last one.
    fn remove_thread(&self) -> bool {
        let mut locked = self.lock();
        locked.threads -= 1;
        locked.threads == 0
    }

    /// The process exits.
    pub(crate) fn exit(&self, world: &World, trace: Handle) {
        let _ = drain(world, &trace);
        self.lock().exiting = true;
        if !flaw::is(Flaw::NoDrainAtExit) {
            synchronous(world, &trace, self.number);
        }
        let (taken, old) = {
            let mut locked = self.lock();
            let (old, seen) = watch(|| trace.set_file(None));
            world.history.set(self.number, seen.locked_at, None);
            (locked.trace.take(), old)
        };
        if !flaw::is(Flaw::NoDrainAtExit) && drain(world, &trace).is_ok() {
            assert_eq!(trace.queued(), 0, "bytes are queued after an exit");
        }
        drop((taken, old));
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().expect("nobody panics under a process lock")
    }
}

/// Makes a record where sleeping is not allowed; true if it has to be drained.
fn asynchronous(world: &World, trace: &Handle, process: usize) -> bool {
    let number = world.number();
    let text = format!("{number:07}");
    let data = CapData::Path(text.as_bytes());
    let payload = Payload::CapFail(CapFail { cap_type: 6, code: 5, svflags: 0, data });
    let (pending, seen) = watch(|| trace.enqueue(&origin(process), &payload));
    let fate = if seen.queued {
        Fate::Taken
    } else if seen.counted(world.engine.stats.dropped.get(Kind::CapFail)) {
        Fate::NoRoom
    } else {
        Fate::Ignored
    };
    assert_eq!(pending == Pending::Nothing, fate == Fate::Ignored);
    assert!(pending == Pending::Help || fate != Fate::NoRoom);
    note(world, process, number, fate, &seen);
    pending != Pending::Nothing
}

/// Makes a record where sleeping is allowed, and writes it.
fn synchronous(world: &World, trace: &Handle, process: usize) {
    let number = world.number();
    let bytes = number.to_ne_bytes();
    let record = Synchronous::Payload(&Payload::User(&bytes));
    let (result, seen) = watch(|| trace.commit(MaySleep::new(), 0, &origin(process), record));
    let stats = &world.engine.stats;
    let fate = if seen.counted(stats.records.get(Kind::User)) {
        Fate::Written
    } else if seen.counted(stats.dropped.get(Kind::User)) {
        Fate::Failed
    } else {
        Fate::Ignored
    };
    note(world, process, number, fate, &seen);
    if let Err(failed) = result {
        write_failed(world, trace, failed);
    }
}

fn note(world: &World, process: usize, number: u64, fate: Fate, seen: &Seen) {
    world.history.made(Made { process, number, time: seen.reading, fate });
}

/// Writes what is queued.
pub(crate) fn drain(world: &World, trace: &Handle) -> Result<(), WriteFailed> {
    let drained = trace.drain(MaySleep::new(), 0);
    drained.inspect_err(|failed| write_failed(world, trace, *failed))
}

/// Writes what is queued for a process that does not get to it.
pub(crate) fn help(world: &World, trace: &Handle) {
    trace.is_overdue();
    if let Err(failed) = trace.help(MaySleep::new(), 0) {
        write_failed(world, trace, failed);
    }
}

fn write_failed(world: &World, trace: &Handle, WriteFailed(errno): WriteFailed) {
    assert!(world.expects(errno), "no file fails with errno {}", errno.0);
    if !world.scenario.sets_files() {
        assert!(!trace.is_traced(), "a process is still traced to a file that failed");
    }
}

fn origin(process: usize) -> Origin {
    let pid = i32::try_from(process).expect("there are few processes");
    Origin { pid, tid: i64::from(pid) + 1000, comm: *b"model\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" }
}
