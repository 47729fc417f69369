//! The simulated system: its processes, and ktrace(2) on them.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ktrace_engine::{Abandoned, WriteFailed};

use crate::platform::Host;
use crate::process::Locked;
use crate::{Disk, Engine, Failures, File, MaySleep, OpenFile, Process, Thread, Trace};

/// `KTRFAC_MASK`: the bits of `p_traceflag` that enable record types.
const KTRFAC_MASK: u32 = 0x00ff_ffff;
/// `KTRFAC_INHERIT`: children are traced as well.
pub(crate) const KTRFAC_INHERIT: u32 = 0x4000_0000;

/// Whether the children of a traced process are traced as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// The children are traced.
    Yes,
    /// The children are not traced.
    No,
}

/// A system with its engine.
pub struct System {
    engine: Arc<Engine>,
    last_id: AtomicI32,
    processes: Mutex<Vec<Weak<Process>>>,
    log: Mutex<Vec<String>>,
}

impl System {
    /// Creates a system without processes.
    pub fn boot() -> Arc<Self> {
        Arc::new(System {
            engine: Arc::new(Engine::new()),
            last_id: AtomicI32::new(99),
            processes: Mutex::default(),
            log: Mutex::default(),
        })
    }

    /// Returns the state that all traces share: the settings and the statistics.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Starts a process, which is not traced. Returns its first thread.
    pub fn spawn(self: &Arc<Self>, comm: &str) -> Thread {
        Thread::first(&Process::new(self, comm))
    }

    /// Returns the lines that the kernel has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a file for tracing.
    pub fn open(&self, file: OpenFile) -> Arc<File> {
        let may_sleep = MaySleep::new();
        File::new(may_sleep, Arc::clone(&self.engine), file).shared(may_sleep)
    }

    /// Starts tracing the types in `facilities` to `file` (`KTROP_SET`). May sleep.
    pub fn set(&self, process: &Process, facilities: u32, inherit: Inherit, file: &Arc<File>) {
        let may_sleep = MaySleep::new();
        let mut spare = Some(Trace::new(Arc::clone(&self.engine), may_sleep));
        spare.iter().for_each(|spare| spare.stock(may_sleep, file));
        let inherit = if inherit == Inherit::Yes { KTRFAC_INHERIT } else { 0 };
        let old = process.with_locked(|locked| {
            if locked.exiting {
                return None;
            }
            if locked.trace.is_none() {
                locked.trace = spare.take();
            }
            let trace = locked.trace.as_ref()?;
            // A file that a set-id exec has left behind is not traced to any more.
            let traced = process.traceflag() != 0;
            let same = traced
                && trace
                    .with_file(|old| old.is_some_and(|old| old.storage().same_file(file.storage().disk())));
            let old = if same { None } else { trace.set_file(Some(Arc::clone(file))) };
            process.set_traceflag(process.traceflag() | facilities & KTRFAC_MASK | inherit);
            process.queue_procctor(locked);
            old
        });
        self.finish(process, old);
    }

    /// Stops tracing the types in `facilities` (`KTROP_CLEAR`). May sleep.
    pub fn clear(&self, process: &Process, facilities: u32) {
        let old = process.with_locked(|locked| {
            if locked.exiting {
                return None;
            }
            let flags = process.traceflag() & !(facilities & KTRFAC_MASK);
            if flags & KTRFAC_MASK == 0 {
                return end(process, locked);
            }
            process.set_traceflag(flags);
            process.queue_procctor(locked);
            None
        });
        self.finish(process, old);
    }

    /// Ends all tracing to the file (`KTROP_CLEARFILE`). May sleep.
    pub fn clear_file(&self, disk: &Arc<Disk>) {
        for process in self.all() {
            let old = process.with_locked(|locked| {
                let uses = locked.trace.as_ref().is_some_and(|trace| {
                    trace.with_file(|file| file.is_some_and(|file| file.storage().same_file(disk)))
                });
                if uses { end(&process, locked) } else { None }
            });
            self.finish(&process, old);
        }
    }

    /// Does one check of the helper: writes on behalf of processes whose records are overdue. May
    /// sleep.
    pub fn help_overdue(&self) {
        self.engine.help_overdue(MaySleep::new(), |_| Some(()), |failures| self.write_failed(failures));
        self.write_failed(self.engine.help_left(MaySleep::new(), |_| Some(())));
        self.engine.free_idle(MaySleep::new());
    }

    /// Writes the pending records of a trace that has ended or changed its file. Closes the old
    /// file.
    fn finish(&self, process: &Process, old: Option<Arc<File>>) {
        if let Some(old) = old
            && let Some(trace) = process.trace()
        {
            self.write_failed(trace.flush(MaySleep::new(), &old));
        }
    }

    /// Ends the tracing of processes whose records could not be written, and logs it. A process
    /// that is traced to another file by now stays traced. No lock may be held.
    pub(crate) fn write_failed(&self, failures: Failures) {
        for failed in failures {
            let WriteFailed { pid, errno, again, .. } = failed;
            let process = self.all().into_iter().find(|process| process.pid() == pid);
            // A process that has exited was traced to the failed file until its end.
            let (abandoned, goes_on) = process.and_then(|process| abandon(&process, &failed)).unzip();
            if abandoned == Some(Abandoned::Before) || abandoned.is_none() && again {
                continue;
            }
            let what = if goes_on == Some(true) { "earlier records lost" } else { "tracing stopped" };
            let line = format!("ktrace write failed, errno {}, {what} for pid {pid}", errno.0);
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn all(&self) -> Vec<Arc<Process>> {
        self.processes().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns an ID for a new process or thread.
    pub(crate) fn next_id(&self) -> i32 {
        self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    pub(crate) fn add(&self, process: &Arc<Process>) {
        self.processes().push(Arc::downgrade(process));
    }

    pub(crate) fn remove(&self, pid: i32) {
        self.processes().retain(|process| process.upgrade().is_some_and(|process| process.pid() != pid));
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Weak<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the tracing of a process, which must be locked.
#[must_use = "the file is to be flushed, and dropped where sleeping is allowed"]
fn end(process: &Process, locked: &Locked) -> Option<Arc<File>> {
    process.set_traceflag(0);
    locked.trace.as_ref().and_then(|trace| trace.set_file(None))
}

/// Ends the tracing of a process to a file that could not be written. Also returns whether the
/// process is traced to another file. Returns `None` if it has exited.
fn abandon(process: &Process, failed: &WriteFailed<Host>) -> Option<(Abandoned, bool)> {
    process.with_locked(|locked| {
        let trace = locked.trace.as_ref()?;
        let abandoned = trace.abandon(failed);
        if abandoned == Abandoned::Now(()) {
            process.set_traceflag(0);
        }
        Some((abandoned, trace.is_traced()))
    })
}
