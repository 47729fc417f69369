//! The report of a run: one line for each test, a summary, and the same as JUnit XML.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// Verdict on a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The test passed.
    Ok,
    /// The test does not apply, for this reason.
    Skip(String),
    /// The test failed. These lines describe the failure.
    Fail(Vec<String>),
}

/// The end of a test.
#[derive(Debug)]
pub struct Outcome {
    /// Name of the image.
    pub image: String,
    /// Name of the test.
    pub test: String,
    /// Time that the test took.
    pub took: Duration,
    /// Verdict on the test.
    pub verdict: Verdict,
    /// Reasons for which the test has left out parts.
    pub left_out: Vec<String>,
}

/// Printer and collector of outcomes.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    begun: Instant,
    /// Whether there are several images, so that a test's name alone does not say which it was.
    several: bool,
    outcomes: Vec<Outcome>,
}

/// Number of the slowest tests that the summary has.
const SLOWEST: usize = 10;

impl<W: Write> Report<W> {
    /// Creates an empty report of one image or of several.
    pub fn new(out: W, several: bool) -> Self {
        Self { out, begun: Instant::now(), several, outcomes: Vec::new() }
    }

    /// Prints a line that does not belong to a single test.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Prints an outcome and keeps it for the summary.
    pub fn add(&mut self, outcome: Outcome) -> io::Result<()> {
        let name = self.shown(&outcome);
        let seconds = outcome.took.as_secs_f64();
        match &outcome.verdict {
            Verdict::Ok => writeln!(self.out, "ok {name} ({seconds:.1} s)")?,
            Verdict::Skip(reason) => writeln!(self.out, "skip {name}: {reason}")?,
            Verdict::Fail(lines) => {
                writeln!(self.out, "FAIL {name} ({seconds:.1} s)")?;
                lines.iter().try_for_each(|line| writeln!(self.out, "    {line}"))?;
            }
        }
        outcome.left_out.iter().try_for_each(|part| writeln!(self.out, "    {name} without {part}"))?;
        self.outcomes.push(outcome);
        self.out.flush()
    }

    /// Prints the summary, writes the outcomes to the file `junit`, and returns whether something
    /// has passed and nothing failed.
    pub fn finish(mut self, junit: &Path) -> Result<bool> {
        let took = minutes(self.begun.elapsed());
        let count = |wanted: fn(&Verdict) -> bool| {
            self.outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count()
        };
        let passed = count(|verdict| *verdict == Verdict::Ok);
        let failed = count(|verdict| matches!(verdict, Verdict::Fail(_)));
        let skipped = self.outcomes.len() - passed - failed;
        self.say("== summary")?;
        for line in self.summary() {
            self.say(&format!("    {line}"))?;
        }
        self.say(&format!("{passed} passed, {failed} failed, {skipped} skipped ({took})"))?;
        self.junit(junit).with_context(|| format!("cannot write {}", junit.display()))?;
        Ok(passed > 0 && failed == 0)
    }

    /// Returns a line for each test that failed or was skipped, for each part that was left out, and
    /// for the slowest tests.
    fn summary(&self) -> Vec<String> {
        let (mut failed, mut skipped, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for outcome in &self.outcomes {
            let name = self.shown(outcome);
            match &outcome.verdict {
                Verdict::Ok => {}
                Verdict::Skip(reason) => skipped.push(format!("skipped: {name}: {reason}")),
                Verdict::Fail(_) => failed.push(format!("failed: {name}")),
            }
            parts.extend(outcome.left_out.iter().map(|part| format!("in part: {name}: without {part}")));
        }
        let mut slowest: Vec<_> = self.outcomes.iter().collect();
        slowest.sort_by_key(|outcome| std::cmp::Reverse(outcome.took));
        let slow = |outcome: &&Outcome| {
            format!("slowest: {:.0} s {}", outcome.took.as_secs_f64(), self.shown(outcome))
        };
        let slowest = slowest.iter().take(SLOWEST).map(slow).collect();
        [failed, skipped, parts, slowest].concat()
    }

    fn junit(&self, path: &Path) -> Result<()> {
        let mut report = quick_junit::Report::new("ktrace-vm");
        let mut suites = BTreeMap::new();
        for outcome in &self.outcomes {
            let status = match &outcome.verdict {
                Verdict::Ok => TestCaseStatus::success(),
                Verdict::Skip(reason) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason.as_str());
                    status
                }
                Verdict::Fail(lines) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(lines.first().map_or("", String::as_str));
                    status.set_description(lines.join("\n"));
                    status
                }
            };
            let mut case = TestCase::new(outcome.test.as_str(), status);
            case.set_time(outcome.took);
            if !outcome.left_out.is_empty() {
                case.set_system_out(outcome.left_out.join("\n"));
            }
            suites
                .entry(&outcome.image)
                .or_insert_with_key(|image| TestSuite::new(image.as_str()))
                .add_test_case(case);
        }
        report.add_test_suites(suites.into_values());
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(report.serialize(File::create(path)?)?)
    }

    fn shown(&self, outcome: &Outcome) -> String {
        let Outcome { image, test, .. } = outcome;
        if self.several { format!("{test} on {image}") } else { test.clone() }
    }
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Returns the last `count` lines of `text`.
pub fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let mut tail: Vec<String> =
        lines[lines.len().saturating_sub(count)..].iter().map(|&line| line.into()).collect();
    if lines.len() > count {
        tail.insert(0, format!("... {} lines before", lines.len() - count));
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(test: &str, took: u64, verdict: Verdict) -> Outcome {
        let (image, took) = ("my".into(), Duration::from_millis(took));
        Outcome { image, test: test.into(), took, verdict, left_out: Vec::new() }
    }

    #[test]
    fn one_line_for_each_and_the_summary() {
        let dir = tempfile::tempdir().unwrap();
        let junit = dir.path().join("out/junit.xml");
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, true);
        let part = Outcome { left_out: vec!["c".into()], ..outcome("a", 1240, Verdict::Ok) };
        report.add(part).unwrap();
        report.add(outcome("b", 1100, Verdict::Skip("no module".into()))).unwrap();
        report.add(outcome("c", 3000, Verdict::Fail(vec!["status <1>".into(), "log".into()]))).unwrap();
        assert!(!report.finish(&junit).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok a on my (1.2 s)\n    a on my without c\nskip b on my: no module\n\
             FAIL c on my (3.0 s)\n    status <1>\n    log\n\
             == summary\n    failed: c on my\n    skipped: b on my: no module\n    in part: a on my: without c\n    \
             slowest: 3 s c on my\n    slowest: 1 s a on my\n    slowest: 1 s b on my\n\
             1 passed, 1 failed, 1 skipped (0 s)\n"
        );
        let xml = fs::read_to_string(junit).unwrap();
        for part in [
            "tests=\"3\"",
            "<testsuite name=\"my\"",
            "<testcase name=\"a\" time=\"1.240\">",
            "<skipped message=\"no module\"",
            "<failure message=\"status &lt;1&gt;\">status &lt;1&gt;\nlog</failure>",
            "<system-out>c</system-out>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
    }

    #[test]
    fn a_run_of_which_nothing_has_passed_fails() {
        let dir = tempfile::tempdir().unwrap();
        let passed = |verdicts: &[Verdict]| {
            let mut report = Report::new(Vec::new(), false);
            for verdict in verdicts {
                report.add(outcome("a", 0, verdict.clone())).unwrap();
            }
            report.finish(&dir.path().join("junit.xml")).unwrap()
        };
        let skip = Verdict::Skip("no program".into());
        assert!(passed(&[Verdict::Ok, skip.clone()]));
        assert!(!passed(&[skip]));
        assert!(!passed(&[]));
    }

    #[test]
    fn the_time_is_in_minutes() {
        let said = [0, 59, 60, 500, 6001].map(|seconds| minutes(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "1 min 0 s", "8 min 20 s", "100 min 1 s"]);
    }

    #[test]
    fn the_tail_says_what_it_leaves_out() {
        assert_eq!(tail("1\n2\n3\n", 2), ["... 1 lines before", "2", "3"]);
        assert_eq!(tail("1\n", 2), ["1"]);
        assert!(tail("", 2).is_empty());
    }
}
