//! The list of tests, and parts of tests, that may be skipped: `guest/tests/may_skip.txt`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use glob::Pattern;

use crate::marker::System;

/// The skips that are no failures.
#[derive(Debug, Clone, Default)]
pub struct MaySkip(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    test: String,
    /// Pattern for release and machine, as in `15-amd64`.
    target: Pattern,
    reason: String,
}

impl MaySkip {
    /// Reads the list from a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Parses lines of a test, a pattern and a reason. Lines with `#` are comments.
    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Entry::parse).collect::<Result<_>>().map(Self)
    }

    /// Returns whether a test may be skipped on a system for this reason.
    pub fn has(&self, test: &str, system: &System, reason: &str) -> bool {
        let target = system.target();
        self.0
            .iter()
            .any(|entry| entry.test == test && entry.target.matches(&target) && entry.reason == reason)
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let [test, target, reason @ ..] = &words[..] else { bail!("'{line}' has no pattern") };
        if reason.is_empty() {
            bail!("'{line}' has no reason");
        }
        Ok(Self { test: (*test).into(), target: Pattern::new(target)?, reason: reason.join(" ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/tests");

    #[test]
    fn a_skip_is_allowed_by_test_system_and_reason() {
        let list = MaySkip::parse("# why\n\na  *-arm64   no such program\n").unwrap();
        let system = |machine: &str| System {
            release: "15.1-RELEASE".into(),
            machine: machine.into(),
            ..System::default()
        };
        assert!(list.has("a", &system("arm64"), "no such program"));
        assert!(!list.has("a", &system("amd64"), "no such program"));
        assert!(!list.has("b", &system("arm64"), "no such program"));
        assert!(!list.has("a", &system("arm64"), "no such"));
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        for line in ["a", "a *", "a [ why"] {
            assert!(MaySkip::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn each_entry_is_a_reason_that_its_test_gives() {
        let list = MaySkip::read(&Path::new(TESTS).join("may_skip.txt")).unwrap();
        assert!(!list.0.is_empty());
        for Entry { test, reason, .. } in list.0 {
            let script = fs::read_to_string(format!("{TESTS}/{test}.sh")).unwrap();
            let given = ["skip", "without"].map(|verb| format!("{verb} \"{reason}\""));
            assert!(given.iter().any(|given| script.contains(given)), "{test}: {reason}");
        }
    }
}
