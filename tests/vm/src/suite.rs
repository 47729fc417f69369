//! The guest tests and their time limits.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use glob::Pattern;

/// A guest test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Test {
    /// Name of the script without `.sh`.
    pub name: String,
    /// Time limit of the test.
    pub limit: Duration,
    /// Whether the test is a load, which leaves figures at full length.
    pub load: bool,
    /// Whether the test must make the system panic, once or more, and continues after the next
    /// boot.
    pub panics: bool,
    /// As `panics`, but with reboots, which keep the root file system's contents.
    pub boots: bool,
    /// Whether the test also runs with a clock that counts instructions.
    pub instructions: bool,
    /// Whether the test is in the core that runs on each release and machine.
    pub core: bool,
    /// Kernel that shows what the test can find, if it is not both.
    pub kernel: Option<Kernel>,
}

/// Kind of kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A kernel as users run it.
    Plain,
    /// A kernel with INVARIANTS and WITNESS.
    Debug,
}

/// Time limit of a test that sets none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// Selection of tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Patterns for the names of the only tests to run, unless empty.
    pub only: &'a [Pattern],
    /// Patterns for the names of tests that do not run.
    pub skip: &'a [Pattern],
    /// Whether to run at full length, and then only tests that have one, unless `only` names
    /// others.
    pub full: bool,
}

impl Choice<'_> {
    fn has(&self, name: &str, script: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        let wanted = match self.only {
            [] => !self.full || header(script, FULL_LIMIT).is_some(),
            only => matches(only),
        };
        wanted && !matches(self.skip)
    }
}

/// Returns the tests in `*.sh` in `dir`, in the order of their names.
pub fn find(dir: &Path, choice: Choice<'_>) -> Result<Vec<Test>> {
    let entries = fs::read_dir(dir).with_context(|| format!("no tests in {}", dir.display()))?;
    let mut tests = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sh") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b)) {
            bail!("{}: a test's name is made of letters, digits, and . _ - +", path.display());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if choice.has(&name, &text) {
            let limit = limit(&text, choice.full).with_context(|| path.display().to_string())?;
            let kernel = kernel(&text).with_context(|| path.display().to_string())?;
            let says = |key| header(&text, key).as_deref() == Some("");
            tests.push(Test {
                name,
                limit,
                load: header(&text, "load:").is_some(),
                panics: says("panics"),
                boots: says("boots"),
                instructions: says("instructions"),
                core: says("core"),
                kernel,
            });
        }
    }
    if tests.is_empty() {
        bail!("no test in {} matches", dir.display());
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tests)
}

/// Sorts the tests with the longest limits first.
///
/// Machines that share the tests then finish at about the same time.
pub fn longest_first(tests: &mut [Test]) {
    tests.sort_by_key(|test| Reverse(test.limit));
}

/// Key of the header line of a test that has a longer form than that of `make check`.
const FULL_LIMIT: &str = "full timeout:";

/// Returns the limit from a script's header line `# timeout: SECONDS`.
///
/// At full length, a line `# full timeout: SECONDS` takes precedence.
fn limit(script: &str, full: bool) -> Result<Duration> {
    let for_full = if full { header(script, FULL_LIMIT) } else { None };
    let Some(value) = for_full.or_else(|| header(script, "timeout:")) else { return Ok(DEFAULT_LIMIT) };
    let seconds = value.parse().context("`# timeout:` wants a number of seconds")?;
    Ok(Duration::from_secs(seconds))
}

/// Returns the kernel from a script's header line `# kernel: plain` or `# kernel: debug`.
fn kernel(script: &str) -> Result<Option<Kernel>> {
    match header(script, "kernel:").as_deref() {
        None => Ok(None),
        Some("plain") => Ok(Some(Kernel::Plain)),
        Some("debug") => Ok(Some(Kernel::Debug)),
        Some(other) => bail!("`# kernel:` wants plain or debug, and not {other}"),
    }
}

/// Returns the text after `key` in one of the comments at the top of a script.
fn header(script: &str, key: &str) -> Option<String> {
    script
        .lines()
        .take_while(|line| line.starts_with('#') || line.is_empty())
        .find_map(|line| line.trim_start_matches('#').trim().strip_prefix(key))
        .map(|value| value.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(scripts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in scripts {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn tests_come_in_order_with_their_limits() {
        let dir = tree(&[
            ("20-b.sh", "#!/bin/sh\n# what it does\n\n# timeout: 300\ntrue\n"),
            ("10-a.sh", "#!/bin/sh\necho\n# timeout: 7\n"),
            ("README", ""),
        ]);
        let found = find(dir.path(), Choice::default()).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.name.as_str(), test.limit.as_secs())).collect();
        assert_eq!(found, [("10-a", 120), ("20-b", 300)]);
    }

    #[test]
    fn a_test_with_two_lengths_has_two_limits() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/tests");
        for test in find(Path::new(dir), Choice::default()).unwrap() {
            let script = fs::read_to_string(format!("{dir}/{}.sh", test.name)).unwrap();
            let lengths = script.contains("$(scaled ");
            assert_eq!(header(&script, FULL_LIMIT).is_some(), lengths, "{}", test.name);
        }
    }

    #[test]
    fn the_longest_come_first() {
        let dir = tree(&[("a.sh", ""), ("b.sh", "# timeout: 300\n"), ("c.sh", "# timeout: 300\n")]);
        let mut found = find(dir.path(), Choice::default()).unwrap();
        longest_first(&mut found);
        let found: Vec<_> = found.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(found, ["b", "c", "a"]);
    }

    #[test]
    fn the_full_length_has_a_limit_of_its_own() {
        let dir = tree(&[("a.sh", "# timeout: 9\n# full timeout: 900\n"), ("b.sh", "# timeout: 8\n")]);
        let limits = |choice| {
            let found = find(dir.path(), choice).unwrap();
            found.iter().map(|test| test.limit.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(limits(Choice::default()), [9, 8]);
        let full = Choice { full: true, ..Choice::default() };
        assert_eq!(limits(full), [900], "b has one length");
        let only = [Pattern::new("b").unwrap()];
        assert_eq!(limits(Choice { only: &only, ..full }), [8]);
    }

    #[test]
    fn a_load_says_what_it_is() {
        let dir = tree(&[("a.sh", "#!/bin/sh\n# load: 10 processes\n"), ("b.sh", "echo\n# load: no\n")]);
        let found = find(dir.path(), Choice::default()).unwrap();
        assert_eq!(found.iter().map(|test| test.load).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_bench_may_count_instructions() {
        let dir = tree(&[("a.sh", "# instructions\n"), ("b.sh", "")]);
        let found = find(dir.path(), Choice::default()).unwrap();
        assert_eq!(found.iter().map(|test| test.instructions).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_test_says_where_it_runs() {
        let dir = tree(&[("a.sh", "# core\n# kernel: plain\n"), ("b.sh", "# kernel: debug\n"), ("c.sh", "")]);
        let found = find(dir.path(), Choice::default()).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.core, test.kernel)).collect();
        assert_eq!(found, [(true, Some(Kernel::Plain)), (false, Some(Kernel::Debug)), (false, None)]);
    }

    #[test]
    fn what_panics_or_boots_says_so() {
        let scripts = [
            ("a.sh", "# panics\n"),
            ("b.sh", "# panics are no good\n"),
            ("c.sh", "# boots\n"),
            ("d.sh", "true\n# boots\n"),
        ];
        let found = find(tree(&scripts).path(), Choice::default()).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.panics, test.boots)).collect();
        assert_eq!(found, [(true, false), (false, false), (false, true), (false, false)]);
    }

    #[test]
    fn patterns_choose() {
        let dir = tree(&[("load.sh", ""), ("unload.sh", ""), ("bench.sh", "")]);
        let names = |only: &[&str], skip: &[&str]| {
            let patterns =
                |globs: &[&str]| -> Vec<_> { globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect() };
            let (only, skip) = (patterns(only), patterns(skip));
            let found = find(dir.path(), Choice { only: &only, skip: &skip, full: false })?;
            anyhow::Ok(found.into_iter().map(|test| test.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["*load"], &[]).unwrap(), ["load", "unload"]);
        assert_eq!(names(&[], &["*load"]).unwrap(), ["bench"]);
        assert_eq!(names(&["*load", "b*"], &["un*"]).unwrap(), ["bench", "load"]);
        assert!(names(&["x*"], &[]).is_err());
    }

    #[test]
    fn bad_trees_are_refused() {
        assert!(find(Path::new("/nonexistent"), Choice::default()).is_err());
        assert!(find(tree(&[("a b.sh", "")]).path(), Choice::default()).is_err());
        assert!(find(tree(&[("a.sh", "# timeout: soon\n")]).path(), Choice::default()).is_err());
        assert!(find(tree(&[("a.sh", "# kernel: any\n")]).path(), Choice::default()).is_err());
    }
}
