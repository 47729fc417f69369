//! A booted system that runs tests, driven over its console.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::console::{Waited, without_escapes};
use crate::crash::{self, Crash};
use crate::image::Arch;
use crate::machine::Machine;
use crate::marker::{self, End, Marker, Range, System};
use crate::results::{self, Results};
use crate::suite::Test;

/// A system on which `guest/run.sh` serves requests.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    system: System,
    limits: Limits,
    /// Position of the console when the system had booted.
    booted: usize,
    /// Positions up to which the console and the live log have been read.
    seen: usize,
    live_seen: usize,
    ranges: Vec<Range>,
}

/// Time limits of a guest.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Factor on every time limit.
    pub patience: u32,
    /// Time that the guest may take beyond a test's limit, to kill it, clean up and hand over the
    /// results.
    pub grace: Duration,
}

/// A failed boot.
#[derive(Debug)]
pub struct BootFailure {
    /// Reason of the failure.
    pub trouble: Trouble,
    /// End of the console, as returned by [`Guest::console_tail`].
    pub console: Vec<String>,
}

/// Reason why a guest can no longer be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel has died and printed this line.
    Crashed(String),
    /// The machine has switched off or rebooted by itself.
    Gone,
    /// Nothing came in time. The text names the missing answer.
    Hung(String),
    /// The guest does not accept its input. The text says which.
    Unusable(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashed(line) => write!(f, "the kernel died: {line}"),
            Self::Gone => f.write_str("the machine went off or rebooted"),
            Self::Hung(what) => write!(f, "the system hangs: {what}"),
            Self::Unusable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Trouble {}

/// A test that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The guest's report on the test.
    pub end: End,
    /// Results that the test left on the host, or why they cannot be read.
    pub results: anyhow::Result<Results>,
    /// Output of the console during the test.
    pub console: String,
}

/// Time limit until `login:`.
const BOOT: Duration = Duration::from_secs(480);
/// Time limit from there until the guest takes requests.
const LOGIN: Duration = Duration::from_secs(120);

/// Number of console lines that are shown.
const CONSOLE_LINES: usize = 60;

/// Command typed at root's shell, whichever that is. It unpacks the files for the kernel's release
/// and machine.
///
/// The quotes in the middle keep its echo from looking like the marker.
const HANDOVER: &str = "exec sh -c 'stty -echo; D=/var/tmp/kt; T=$(($(uname -K) / 100000))-$(uname -m); \
                        rm -rf $D; mkdir -p $D && cd $D && tar -xf /dev/vtbd1 $T && cd $T \
                        && exec sh run.sh serve; echo \"@@\"\"KT:broken:nothing_for_$T@@\"'\n";

impl Guest {
    /// Waits until the machine has booted, logs in, and starts the script that serves requests.
    pub fn boot(machine: Machine, limits: Limits) -> Result<Self, BootFailure> {
        let system = System::default();
        let mut guest =
            Self { machine, system, limits, booted: 0, seen: 0, live_seen: 0, ranges: Vec::new() };
        match guest.log_in().and_then(|()| guest.hand_over()) {
            Ok(system) => {
                // Debugging checks slow a kernel down, and so does emulation of more processors
                // than the host has.
                guest.limits.patience *= if system.witness { 2 } else { 1 };
                guest.limits.patience *= if system.arch() == Arch::Arm64 { 2 } else { 1 };
                guest.system = system;
                guest.booted = guest.machine.console().position();
                guest.seen = guest.booted;
                Ok(guest)
            }
            Err(trouble) => Err(BootFailure { trouble, console: guest.console_tail() }),
        }
    }

    /// Returns the booted system.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns the machine of the system.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Returns the machine of a system that is no longer needed.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Returns the place of the console's copy and the console's last lines.
    ///
    /// If the system has booted, only lines since then are included.
    pub fn console_tail(&self) -> Vec<String> {
        let mut lines = vec![format!("console ({}):", self.machine.console_log().display())];
        lines.extend(self.machine.console().tail(self.booted, CONSOLE_LINES));
        lines
    }

    /// Returns the addresses at which the module has been loaded so far.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Returns the console output of the boot.
    pub fn boot_messages(&self) -> String {
        self.machine.console().since(0)
    }

    /// Runs `test` and stores its results below the directory `out`.
    ///
    /// `downs` is the number of systems that have gone down for it.
    pub fn run(&mut self, test: &Test, downs: u32, out: &Path) -> Result<Ended, Trouble> {
        let limit = test.limit * self.limits.patience;
        let from = self.seen;
        self.live_seen = self.machine.live_log().len();
        self.machine.type_in(format!("run {} {} {downs}\n", test.name, limit.as_secs()));
        let end = match self.wait_for_end(&test.name, from, limit + self.grace()) {
            // The marker may have been lost.
            Err(Trouble::Hung(_)) => self.ask_again(&test.name, from, limit)?,
            other => other?,
        };
        let results = results::take(&self.machine.results_disk(), &test.name, out);
        let console = self.machine.console().since(from);
        self.seen = from + console.len();
        self.remember_module(&console);
        Ok(Ended { end, results, console })
    }

    /// Makes sure that the system still lives after its last test.
    pub fn finish(&mut self, last: &str) -> Result<(), Trouble> {
        self.machine.type_in("again\n");
        self.wait_for_end(last, self.seen, self.grace()).map(|_| ())
    }

    /// Returns the output since the last test after trouble, once no more arrives.
    ///
    /// Asks a kernel debugger, or a system that hangs, for its state.
    pub fn post_mortem(&mut self, trouble: &Trouble) -> String {
        let settle = |machine: &Machine| {
            let deadline = Instant::now() + Duration::from_secs(20);
            machine.console().settle(Duration::from_secs(3), deadline);
        };
        match trouble {
            Trouble::Crashed(_) => {
                settle(&self.machine);
                let crash = crash::find(&self.machine.console().since(self.seen));
                if crash.is_some_and(|crash| crash.in_debugger) {
                    self.machine.type_in("set $lines=0\nbt\nshow alllocks\nps\n");
                    settle(&self.machine);
                }
            }
            Trouble::Hung(_) => {
                // Control-T prints the foreground process and its kernel stack.
                self.machine.type_in("\x14");
                settle(&self.machine);
            }
            Trouble::Gone | Trouble::Unusable(_) => {}
        }
        let console = self.machine.console().since(self.seen);
        self.remember_module(&console);
        console
    }

    /// Returns the output of the last test so far, if the guest has a second serial port.
    pub fn live_log(&self) -> String {
        self.machine.live_log().get(self.live_seen..).unwrap_or_default().to_owned()
    }

    /// Starts an interactive shell for a terminal of this size and type.
    pub fn start_shell(&mut self, rows: u16, columns: u16, term: &str) {
        self.machine.type_in(format!("shell {rows} {columns} {term}\n"));
    }

    fn log_in(&mut self) -> Result<(), Trouble> {
        let asked = self.wait(0, BOOT * self.limits.patience, "no login prompt", |text| {
            text.contains("login:").then_some(())
        });
        asked?;
        let from = self.machine.console().position();
        self.machine.type_in("root\n");
        // An image may ask for an empty password, and a shell may first ask the terminal for its
        // size. Any prompt will do. Without a known prompt, log in anyway.
        let answer = self.wait(from, LOGIN * self.limits.patience / 4, "no shell prompt", |text| {
            let line = text.lines().next_back().map(without_escapes).unwrap_or_default();
            if line.contains("assword:") {
                Some(Answer::Password)
            } else if line.trim_end().ends_with(['#', '$', '%', '>']) {
                Some(Answer::Prompt)
            } else {
                text.contains("incorrect").then_some(Answer::Refused)
            }
        });
        match answer {
            Ok(Answer::Password) => {
                self.machine.type_in("\n");
                std::thread::sleep(Duration::from_secs(3));
            }
            Ok(Answer::Refused) => {
                return Err(Trouble::Unusable("root cannot log in without a password".into()));
            }
            Ok(Answer::Prompt) | Err(Trouble::Hung(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<System, Trouble> {
        let from = self.machine.console().position();
        let mut ready = Err(Trouble::Hung(String::new()));
        // Input may be lost if it is typed too early, and is ignored if it is typed twice.
        for _ in 0..4 {
            self.machine.type_in(HANDOVER);
            ready = self.wait(from, LOGIN * self.limits.patience / 4, "no answer to the login", |text| {
                marker::all(text).find(|said| matches!(said, Marker::Ready(_) | Marker::Broken(_)))
            });
            if !matches!(ready, Err(Trouble::Hung(_))) {
                break;
            }
        }
        match ready? {
            Marker::Ready(system) => Ok(system),
            Marker::Broken(why) => Err(Trouble::Unusable(format!("the guest cannot run tests: {why}"))),
            _ => Err(Trouble::Unusable("the guest cannot run tests".into())),
        }
    }

    fn wait_for_end(&self, name: &str, from: usize, limit: Duration) -> Result<End, Trouble> {
        self.wait(from, limit, &format!("no end of {name} in {} s", limit.as_secs()), |text| {
            marker::all(text).find_map(|said| match said {
                Marker::End(end) if end.name == name => Some(end),
                _ => None,
            })
        })
    }

    fn ask_again(&mut self, name: &str, from: usize, limit: Duration) -> Result<End, Trouble> {
        self.machine.type_in("again\n");
        self.wait_for_end(name, from, self.grace().min(Duration::from_secs(10))).map_err(|trouble| {
            match trouble {
                Trouble::Hung(_) => {
                    Trouble::Hung(format!("{name} has not ended after {} s", limit.as_secs()))
                }
                other => other,
            }
        })
    }

    /// Waits until `search` finds something, or until trouble.
    fn wait<T>(
        &self,
        from: usize,
        limit: Duration,
        what: &str,
        mut search: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Trouble> {
        let booted = !self.system.release.is_empty();
        let waited = self.machine.console().wait(from, Instant::now() + limit, |text| {
            // The kernel's first line is expected while it boots.
            let text = if booted { text } else { text.rsplit("---<<BOOT>>---").next()? };
            match crash::find(text) {
                Some(crash) => Some(Err(crash)),
                None => search(text).map(Ok),
            }
        });
        match waited {
            Waited::Found(Ok(found)) => Ok(found),
            Waited::Found(Err(Crash { line, .. })) => Err(Trouble::Crashed(line)),
            Waited::Closed => Err(Trouble::Gone),
            Waited::TimedOut => Err(Trouble::Hung(what.into())),
        }
    }

    fn grace(&self) -> Duration {
        self.limits.grace * self.limits.patience
    }

    fn remember_module(&mut self, console: &str) {
        for said in marker::all(console) {
            if let Marker::Module(range) = said
                && !self.ranges.contains(&range)
            {
                self.ranges.push(range);
            }
        }
    }
}

enum Answer {
    Password,
    Prompt,
    Refused,
}
