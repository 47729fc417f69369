//! `ktrace-vm check`: runs the guest tests on all images, several machines at a time.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::accel;
use crate::complaint::{self, Complaint};
use crate::crash;
use crate::guest::{Ended, Guest, Limits, Trouble};
use crate::image::Image;
use crate::machine::{self, Clock, Machine};
use crate::marker::{self, Marker, System};
use crate::may_skip::MaySkip;
use crate::payload::{Backend, Payload};
use crate::plan::Run;
use crate::report::{Outcome, Report, Verdict, tail};
use crate::results::Results;
use crate::suite::{self, Test};

/// Options of a run.
#[derive(Debug)]
pub struct Options {
    /// The images and the tests of each, in the order in which they begin.
    pub runs: Vec<Run>,
    /// Files for the guests.
    pub payload: Payload,
    /// The skips that are no failures.
    pub may_skip: MaySkip,
    /// Number of machines that may run at a time.
    pub jobs: usize,
    /// Time limits of the guests.
    pub limits: Limits,
    /// Directory for logs and results, with a subdirectory for each image.
    pub out: PathBuf,
}

impl Options {
    /// Returns these tests in the order in which the machines run them.
    fn queue(&self, tests: &[Test]) -> VecDeque<Test> {
        let mut tests = tests.to_vec();
        if self.jobs > 1 {
            suite::longest_first(&mut tests);
        }
        tests.into()
    }
}

/// Runs everything, prints the report, and returns whether something has passed and nothing failed.
pub fn run(options: &Options, out: impl Write + Send) -> Result<bool> {
    let report = Mutex::new(Report::new(out, options.runs.len() > 1));
    let mut runs = Vec::new();
    for (index, Run { image, tests }) in options.runs.iter().enumerate() {
        let same = options.runs[..index].iter().filter(|other| other.image.stem() == image.stem());
        let dir = match same.count() {
            0 => options.out.join(image.stem()),
            count => options.out.join(format!("{}-{}", image.stem(), count + 1)),
        };
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let by_instructions = tests.iter().filter(|test| test.instructions).cloned().collect();
        for (clock, tests, dir) in [
            (Clock::Time, tests.clone(), dir.clone()),
            (Clock::Instructions, by_instructions, dir.join("instructions")),
        ] {
            runs.push(ImageRun {
                options,
                image,
                clock,
                dir,
                report: &report,
                queue: Mutex::new(options.queue(&tests)),
                stock_complaints: Mutex::default(),
                system: Mutex::default(),
                begun: AtomicBool::new(false),
                boots: AtomicUsize::new(0),
            });
        }
    }
    work(options.jobs.max(1), &runs)?;
    runs.iter().try_for_each(ImageRun::sum_up)?;
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.finish(&options.out.join("junit.xml"))
}

/// Runs all tests, on this number of machines at a time.
///
/// Each machine first takes an image of its own, because it boots once for all of the tests then.
fn work<W: Write + Send>(machines: usize, runs: &[ImageRun<'_, W>]) -> Result<()> {
    thread::scope(|scope| {
        let worker = || -> Result<()> {
            while let Some(run) = next(runs) {
                run.work()?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..machines).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })
}

/// Number of tests that are worth another machine, which has to boot.
const WORTH_A_MACHINE: usize = 4;

/// Returns the run that a machine takes tests of next: one that has not begun, or else the one with
/// the most tests left.
fn next<'a, 'b, W>(runs: &'a [ImageRun<'b, W>]) -> Option<&'a ImageRun<'b, W>> {
    if let Some(run) = runs.iter().find(|run| !run.begun.swap(true, Ordering::Relaxed)) {
        return Some(run);
    }
    let left = |run: &&ImageRun<'_, W>| lock(&run.queue).len();
    runs.iter().max_by_key(left).filter(|run| left(run) >= WORTH_A_MACHINE)
}

/// The tests of one image. Hold only one of the locks at a time.
struct ImageRun<'a, W> {
    options: &'a Options,
    image: &'a Image,
    /// Clock of the machines.
    clock: Clock,
    dir: PathBuf,
    report: &'a Mutex<Report<W>>,
    queue: Mutex<VecDeque<Test>>,
    stock_complaints: Mutex<Vec<String>>,
    system: Mutex<Option<System>>,
    /// Set when the first machine takes the image.
    begun: AtomicBool,
    boots: AtomicUsize,
}

/// Root file system of a machine that is started again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    /// The file system as the previous system left it.
    Same,
    /// The image's file system.
    Anew,
}

/// Number of lines shown of a failed test's log, and of the runner's notes.
const LOG_LINES: usize = 40;
const NOTE_LINES: usize = 20;

/// Maximum number of panics or reboots after which a test may continue.
const MOST_DOWNS: u32 = 4;

impl<W: Write + Send> ImageRun<'_, W> {
    /// Prints what concerns all of the tests, after they have run.
    fn sum_up(&self) -> Result<()> {
        let complaints = lock(&self.stock_complaints);
        if !complaints.is_empty() {
            let mut report = lock(self.report);
            report.say(&format!(
                "complaints of the stock kernel of {}, not counted:",
                self.image.path.display()
            ))?;
            complaints.iter().try_for_each(|line| report.say(&format!("    {line}")))?;
        }
        Ok(())
    }

    /// Runs tests from the queue until it is empty, on a machine that is replaced after a test has
    /// spoilt it.
    fn work(&self) -> Result<()> {
        let mut guest: Option<Guest> = None;
        let mut last = None;
        loop {
            // Kept out of a `while let`, which would hold the lock for the whole test.
            let Some(test) = lock(&self.queue).pop_front() else { break };
            let mut current = match guest.take() {
                Some(guest) => guest,
                None => match self.boot(None)? {
                    Ok(guest) => guest,
                    Err(lines) => return self.give_up(&test, lines),
                },
            };
            let begun = Instant::now();
            // Number of systems that have gone down for this test.
            let mut downs = 0;
            let mut left_out = String::new();
            let verdict = loop {
                match current.run(&test, downs, &self.dir) {
                    Ok(ended) => {
                        let (verdict, usable) = self.judge(&test, downs, &ended, &current);
                        guest = usable.then_some(current);
                        left_out = ended.results.map(|results| results.left_out).unwrap_or_default();
                        break verdict;
                    }
                    Err(Trouble::Gone) if test.boots && downs < MOST_DOWNS => {
                        if let Err(verdict) = self.rebooted(&test.name, &mut current) {
                            break verdict;
                        }
                        downs += 1;
                        current = match self.boot(Some((current, Root::Same)))? {
                            Ok(guest) => guest,
                            Err(lines) => break Verdict::Fail(lines),
                        };
                    }
                    Err(trouble @ Trouble::Crashed(_)) if test.panics && downs < MOST_DOWNS => {
                        if let Err(verdict) = self.panicked(&test.name, &trouble, &mut current) {
                            break verdict;
                        }
                        downs += 1;
                        current = match self.boot(Some((current, Root::Anew)))? {
                            Ok(guest) => guest,
                            Err(lines) => break Verdict::Fail(lines),
                        };
                    }
                    Err(trouble) => {
                        break self.in_trouble(&test.name, last.as_deref(), &trouble, &mut current);
                    }
                }
            };
            let verdict = self.forbid_skips(&test.name, verdict, &left_out);
            self.verdict(&test.name, begun.elapsed(), verdict, &left_out)?;
            last = Some(test.name);
        }
        match (guest, last) {
            (Some(guest), Some(last)) => self.finish(guest, &last),
            _ => Ok(()),
        }
    }

    /// Boots a new machine, or that of another guest again, and prints a description of it.
    ///
    /// If it does not boot, returns the reason.
    fn boot(&self, again: Option<(Guest, Root)>) -> Result<Result<Guest, Vec<String>>> {
        let count = self.boots.fetch_add(1, Ordering::Relaxed) + 1;
        let log = self.dir.join(format!("console-{count}.log"));
        let begun = Instant::now();
        let machine = match again {
            None => Machine::start(self.image, &self.options.payload, self.clock, &log)?,
            Some((guest, root)) => {
                let anew = (root == Root::Anew).then_some(self.image);
                guest.into_machine().start_again(anew, &log)?
            }
        };
        let mut limits = self.options.limits;
        // One second of the guest takes longer than one second of the host.
        limits.patience *= if self.clock == Clock::Instructions { 3 } else { 1 };
        match Guest::boot(machine, limits) {
            Ok(guest) => {
                self.judge_console("boot", &guest.boot_messages(), &guest);
                let system = guest.system();
                let hardware = machine::hardware(self.image.arch, self.clock).join(" ");
                fs::write(self.dir.join("system"), format!("{system}\n{hardware}\n"))?;
                let how = match self.clock {
                    Clock::Instructions => ", by instructions",
                    Clock::Time if accel::is_kvm(self.image.arch) => ", under KVM",
                    Clock::Time => "",
                };
                lock(self.report).say(&format!(
                    "== {}: {system}, up after {:.0} s{how}",
                    self.image.path.display(),
                    begun.elapsed().as_secs_f64()
                ))?;
                *lock(&self.system) = Some(system.clone());
                Ok(Ok(guest))
            }
            Err(failure) => {
                let why = format!("{} does not boot: {}", self.image.path.display(), failure.trouble);
                let mut lines = vec![why];
                lines.extend(failure.console);
                Ok(Err(lines))
            }
        }
    }

    /// Fails this test and all tests that are left, because no machine boots.
    fn give_up(&self, test: &Test, lines: Vec<String>) -> Result<()> {
        self.verdict(&test.name, Duration::ZERO, Verdict::Fail(lines), "")?;
        for test in lock(&self.queue).drain(..) {
            let why = vec!["not run: the image does not boot".into()];
            self.verdict(&test.name, Duration::ZERO, Verdict::Fail(why), "")?;
        }
        Ok(())
    }

    /// Returns the verdict on a test that has ended, and whether the guest can run another test.
    ///
    /// `downs` is the number of systems that have gone down for the test.
    fn judge(&self, test: &Test, downs: u32, ended: &Ended, guest: &Guest) -> (Verdict, bool) {
        let Ended { end, results, console } = ended;
        let (mut why, none) = (Vec::new(), Results::default());
        let results = results.as_ref().unwrap_or_else(|error| {
            why.push(format!("its results cannot be read: {error:#}"));
            &none
        });
        match end.status {
            0 if test.boots && downs == 0 => why.push("the system has not rebooted".into()),
            0 if test.panics && downs == 0 => why.push("the system has not panicked".into()),
            0 | 77 => {}
            124 => why.push("timed out".to_owned()),
            status => why.push(format!("status {status}")),
        }
        why.extend(end.left.iter().map(|left| format!("left behind: {left}")));
        why.extend(self.complaints(&end.name, console, guest));
        let verdict = if !why.is_empty() {
            why.push(format!("log ({}):", self.dir.join(&end.name).join("log").display()));
            why.extend(tail(&results.log, LOG_LINES));
            if !results.notes.is_empty() {
                why.push("notes:".into());
                why.extend(tail(&results.notes, NOTE_LINES));
            }
            Verdict::Fail(why)
        } else if end.status == 77 {
            let reason = results.log.lines().rfind(|line| !line.trim().is_empty());
            Verdict::Skip(reason.unwrap_or("no reason given").trim().into())
        } else {
            Verdict::Ok
        };
        // A test that reboots changes the root file system, and restores it only if the test
        // succeeds.
        let root_is_changed = test.boots && verdict != Verdict::Ok;
        let stuck = end.left.iter().any(|left| left == "stuck");
        (verdict, !stuck && !root_is_changed)
    }

    /// Fails a test that was skipped, or has left out a part, for a reason that is not on the list.
    ///
    /// Without the module, everything may be skipped.
    fn forbid_skips(&self, name: &str, verdict: Verdict, left_out: &str) -> Verdict {
        if self.options.payload.backend != Backend::Module {
            return verdict;
        }
        let system = lock(&self.system).clone().unwrap_or_default();
        let skipped = if let Verdict::Skip(reason) = &verdict { Some(reason.as_str()) } else { None };
        let forbidden = skipped
            .into_iter()
            .chain(left_out.lines())
            .filter(|reason| !self.options.may_skip.has(name, &system, reason));
        let mut why: Vec<_> =
            forbidden.map(|reason| format!("skipped, and may_skip.txt does not have it: {reason}")).collect();
        match verdict {
            Verdict::Fail(lines) => why.extend(lines),
            other if why.is_empty() => return other,
            _ => {}
        }
        Verdict::Fail(why)
    }

    /// Checks that a test has rebooted the system as it should, and that the console has no
    /// complaint.
    fn rebooted(&self, name: &str, guest: &mut Guest) -> Result<(), Verdict> {
        let console = guest.post_mortem(&Trouble::Gone);
        let mut why = Vec::new();
        if !crash::is_orderly_reboot(&console) {
            why.push("the machine has gone off without an orderly reboot".into());
        }
        self.went_down(name, &console, why, guest)
    }

    /// Checks that a test has made the system panic as it should, and that the console has no
    /// complaint.
    fn panicked(&self, name: &str, trouble: &Trouble, guest: &mut Guest) -> Result<(), Verdict> {
        let console = guest.post_mortem(trouble);
        let asked = crash::is_asked_panic(&console);
        let why = if asked { Vec::new() } else { vec![trouble.to_string()] };
        self.went_down(name, &console, why, guest)
    }

    /// Fails with a verdict on a system that went down on request, if `why` or the console has a
    /// fault.
    fn went_down(
        &self,
        name: &str,
        console: &str,
        mut why: Vec<String>,
        guest: &Guest,
    ) -> Result<(), Verdict> {
        why.extend(console.lines().filter(|line| crash::is_of_tracer(line)).map(Into::into));
        why.extend(self.complaints(name, console, guest));
        let log = self.live_log(name, guest);
        if why.is_empty() {
            return Ok(());
        }
        why.extend(log);
        why.extend(guest.console_tail());
        Err(Verdict::Fail(why))
    }

    /// Returns the verdict on a test during which the guest got into trouble.
    fn in_trouble(&self, name: &str, last: Option<&str>, trouble: &Trouble, guest: &mut Guest) -> Verdict {
        let console = guest.post_mortem(trouble);
        let mut why = vec![trouble.to_string()];
        let begun = marker::all(&console).any(|said| matches!(said, Marker::Begin(begun) if begun == name));
        if let (false, Some(last)) = (begun, last) {
            why.push(format!("this test had not begun yet; the one before was {last}"));
        }
        why.extend(self.complaints(name, &console, guest));
        why.extend(self.live_log(name, guest));
        why.extend(guest.console_tail());
        Verdict::Fail(why)
    }

    /// Saves the output of a test that did not end, and returns its last lines.
    fn live_log(&self, name: &str, guest: &Guest) -> Vec<String> {
        let live = guest.live_log();
        if live.is_empty() {
            return Vec::new();
        }
        let log = self.dir.join(name).join("log");
        // A log that cannot be saved is still shown.
        let _ = fs::create_dir_all(self.dir.join(name)).and_then(|()| fs::write(&log, &live));
        let mut lines = vec![format!("the test's output so far ({}):", log.display())];
        lines.extend(tail(&live, LOG_LINES));
        lines
    }

    /// Returns the lines of the kernel's complaints that count.
    fn complaints(&self, during: &str, console: &str, guest: &Guest) -> Vec<String> {
        let counted = self.judge_console(during, console, guest);
        counted.iter().flat_map(|complaint| complaint.text.lines()).map(Into::into).collect()
    }

    /// Sorts the kernel's complaints and returns those that count.
    fn judge_console(&self, during: &str, console: &str, guest: &Guest) -> Vec<Complaint> {
        let judgement = complaint::judge(console, guest.ranges());
        let listed = judgement.listed.into_iter();
        lock(&self.stock_complaints)
            .extend(listed.map(|complaint| format!("{} (during {during})", complaint.subject)));
        judgement.counted
    }

    /// Ends a guest, and checks that the last test has not left a kernel that dies late.
    fn finish(&self, mut guest: Guest, last: &str) -> Result<()> {
        let Err(trouble) = guest.finish(last) else { return Ok(()) };
        let verdict = self.in_trouble("end", Some(last), &trouble, &mut guest);
        self.verdict("end", Duration::ZERO, verdict, "")
    }

    fn verdict(&self, test: &str, took: Duration, verdict: Verdict, left_out: &str) -> Result<()> {
        let (image, left_out) = (self.image.stem(), left_out.lines().map(Into::into).collect());
        Ok(lock(self.report).add(Outcome { image, test: test.into(), took, verdict, left_out })?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
