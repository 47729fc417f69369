//! A booted system that runs tests: what is typed on its console, and what comes back.

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

/// A system that `guest/run.sh` serves requests on.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    system: System,
    limits: Limits,
    /// Where the console was when the system had booted.
    booted: usize,
    /// How much of the console, and of the live log, has been looked at.
    seen: usize,
    live_seen: usize,
    ranges: Vec<Range>,
}

/// How long a guest may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Multiplies every time limit.
    pub patience: u32,
    /// How much longer than a test the guest may take: to kill it, clean up and hand
    /// the results out.
    pub grace: Duration,
}

/// A system that has not booted.
#[derive(Debug)]
pub struct BootFailure {
    /// Why.
    pub trouble: Trouble,
    /// The end of its console, as [`Guest::console_tail`] has it.
    pub console: Vec<String>,
}

/// Why a guest is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its kernel has died, with this line.
    Crashed(String),
    /// The machine has gone off or rebooted by itself.
    Gone,
    /// Nothing came in time; says what was waited for.
    Hung(String),
    /// It does not take what it is given; says what.
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

/// A test that has come to its end.
#[derive(Debug)]
pub struct Ended {
    /// What the guest said of it.
    pub end: End,
    /// What it left on the host.
    pub results: Results,
    /// What came from the console meanwhile.
    pub console: String,
}

/// How long it may take until `login:`.
const BOOT: Duration = Duration::from_secs(480);
/// How long it may take from there until the guest takes requests.
const LOGIN: Duration = Duration::from_secs(120);

/// Lines shown of the console.
const CONSOLE_LINES: usize = 60;

/// Typed at root's shell, whatever that is. It unpacks what is for the release and machine of the kernel. The
/// quotes in the middle keep its echo from looking like the marker.
const HANDOVER: &str = "exec sh -c 'stty -echo; D=/var/tmp/kt; T=$(($(uname -K) / 100000))-$(uname -m); \
                        rm -rf $D; mkdir -p $D && cd $D && tar -xf /dev/vtbd1 $T && cd $T \
                        && exec sh run.sh serve; echo \"@@\"\"KT:broken:nothing_for_$T@@\"'\n";

impl Guest {
    /// Waits until the machine has booted, logs in and starts what serves requests.
    pub fn boot(machine: Machine, limits: Limits) -> Result<Self, BootFailure> {
        let nothing =
            System { release: String::new(), machine: String::new(), ident: String::new(), witness: false };
        let mut guest =
            Self { machine, system: nothing, limits, booted: 0, seen: 0, live_seen: 0, ranges: Vec::new() };
        match guest.log_in().and_then(|()| guest.hand_over()) {
            Ok(system) => {
                // Checking makes a kernel slow, and so does emulation of more processors than there are.
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

    /// What has been booted.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The machine below.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The machine below, when the system is of no more use.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Where the console's copy is, and its last lines: since the system had booted, if
    /// it has.
    pub fn console_tail(&self) -> Vec<String> {
        let mut lines = vec![format!("console ({}):", self.machine.console_log().display())];
        lines.extend(self.machine.console().tail(self.booted, CONSOLE_LINES));
        lines
    }

    /// Where the module has been loaded so far.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// All that the console said while the system booted.
    pub fn boot_messages(&self) -> String {
        self.machine.console().since(0)
    }

    /// Runs `test`, for which that many systems have gone down; its results go below directory `out`.
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
        let results = results::take(&self.machine.results_disk(), &test.name, out)
            .unwrap_or_else(|error| Results { notes: format!("{error:#}\n"), ..Results::default() });
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

    /// After trouble: what came since the last test, once nothing more comes. Asks a
    /// kernel debugger, or a system that hangs, where it stands.
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
                // Control-T: the foreground process and its kernel stack.
                self.machine.type_in("\x14");
                settle(&self.machine);
            }
            Trouble::Gone | Trouble::Unusable(_) => {}
        }
        let console = self.machine.console().since(self.seen);
        self.remember_module(&console);
        console
    }

    /// What the last test has said so far, where the guest has a second serial port.
    pub fn live_log(&self) -> String {
        self.machine.live_log().get(self.live_seen..).unwrap_or_default().to_owned()
    }

    /// Starts an interactive shell for a terminal of that size and kind.
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
        // An image may ask for a password that is empty, and a shell may ask the
        // terminal for its size first. Any prompt will do; if none is known, go on.
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
        // What is typed too early may be lost; what is typed too often is ignored.
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

    /// Waits for what `search` finds, or for trouble.
    fn wait<T>(
        &self,
        from: usize,
        limit: Duration,
        what: &str,
        mut search: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Trouble> {
        let booted = !self.system.release.is_empty();
        let waited = self.machine.console().wait(from, Instant::now() + limit, |text| {
            // While it boots, its own first line is no news.
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
