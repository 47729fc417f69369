//! The report of a run: one line for each test, and the totals.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Outcome of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The test passed.
    Ok,
    /// The test does not apply, for this reason.
    Skip(String),
    /// The test failed. These lines describe the failure.
    Fail(Vec<String>),
}

/// Printer and counter of verdicts.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    begun: Instant,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl<W: Write> Report<W> {
    /// Creates an empty report.
    pub fn new(out: W) -> Self {
        Self { out, begun: Instant::now(), passed: 0, failed: 0, skipped: 0 }
    }

    /// Prints a line that does not belong to a single test.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Prints the verdict on test `name`, which took as long as `took`.
    pub fn verdict(&mut self, name: &str, took: Duration, verdict: &Verdict) -> io::Result<()> {
        match verdict {
            Verdict::Ok => {
                self.passed += 1;
                writeln!(self.out, "ok {name} ({:.1} s)", took.as_secs_f64())?;
            }
            Verdict::Skip(reason) => {
                self.skipped += 1;
                writeln!(self.out, "skip {name}: {reason}")?;
            }
            Verdict::Fail(lines) => {
                self.failed += 1;
                writeln!(self.out, "FAIL {name} ({:.1} s)", took.as_secs_f64())?;
                for line in lines {
                    writeln!(self.out, "    {line}")?;
                }
            }
        }
        self.out.flush()
    }

    /// Prints the totals and the elapsed time, and returns whether something has passed and nothing
    /// failed.
    pub fn finish(mut self) -> io::Result<bool> {
        let Self { passed, failed, skipped, .. } = self;
        let took = minutes(self.begun.elapsed());
        self.say(&format!("{passed} passed, {failed} failed, {skipped} skipped ({took})"))?;
        Ok(passed > 0 && failed == 0)
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

    #[test]
    fn one_line_for_each_and_the_sums() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        let took = Duration::from_millis(1240);
        report.verdict("a", took, &Verdict::Ok).unwrap();
        report.verdict("b", took, &Verdict::Skip("no module".into())).unwrap();
        report.verdict("c", took, &Verdict::Fail(vec!["status 1".into()])).unwrap();
        assert!(!report.finish().unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ok a (1.2 s)\nskip b: no module\nFAIL c (1.2 s)\n    status 1\n\
             1 passed, 1 failed, 1 skipped (0 s)\n"
        );
    }

    #[test]
    fn a_run_of_which_nothing_has_passed_fails() {
        let passed = |verdicts: &[Verdict]| {
            let mut report = Report::new(Vec::new());
            verdicts.iter().for_each(|verdict| report.verdict("a", Duration::ZERO, verdict).unwrap());
            report.finish().unwrap()
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
