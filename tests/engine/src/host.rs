//! The doubles with threads of the host, of which a test has one as a rule.

use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use ktrace_doubles::{Threads, Waiters};

pub(crate) type Disk = ktrace_doubles::Disk<Host>;
pub(crate) type Engine = ktrace_doubles::Engine<Host>;
pub(crate) type Failures = ktrace_doubles::Failures<Host>;
pub(crate) type File = ktrace_doubles::File<Host>;
pub(crate) type OpenFile = ktrace_doubles::OpenFile<Host>;
pub(crate) type Trace = ktrace_doubles::Trace<Host>;

/// Threads of the host.
pub(crate) struct Host;

impl Threads for Host {
    type Waiters = Spinning;
    type Id = ThreadId;

    fn current() -> ThreadId {
        thread::current().id()
    }
}

/// Threads that try again until they need not wait.
#[derive(Default)]
pub(crate) struct Spinning;

impl Waiters for Spinning {
    fn wait_for<R>(&self, attempt: impl Fn() -> Option<R>) -> R {
        let begun = Instant::now();
        loop {
            if let Some(result) = attempt() {
                return result;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "a thread waits for ever");
            thread::yield_now();
        }
    }

    fn wake(&self) {}
}
