//! The guest tests: which there are, and how long each may take.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use glob::Pattern;

/// One guest test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Test {
    /// The script's name without `.sh`.
    pub name: String,
    /// How long it may take.
    pub limit: Duration,
    /// What its load is, if it leaves figures of one.
    pub load: Option<String>,
    /// Whether it ends with a reboot of the system: then it must.
    pub reboots: bool,
    /// Whether it has the system panic, and goes on in the next one: then it must, once or more.
    pub panics: bool,
    /// As `panics`, with reboots; what it has written to the root file system is there again.
    pub boots: bool,
}

/// How long a test may take that does not say.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// The tests in `*.sh` in `dir`, in the order of their names, but those last that have a header
/// line `# reboots` or `# boots`; only those whose name matches one of the patterns in `only`, if there are
/// any. `full` asks for the limits of their full length.
pub fn find(dir: &Path, only: &[Pattern], full: bool) -> Result<Vec<Test>> {
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
        if only.is_empty() || only.iter().any(|pattern| pattern.matches(&name)) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let limit = limit(&text, full).with_context(|| path.display().to_string())?;
            let says = |key| header(&text, key).as_deref() == Some("");
            let (reboots, panics, boots) = (says("reboots"), says("panics"), says("boots"));
            tests.push(Test { name, limit, load: header(&text, "load:"), reboots, panics, boots });
        }
    }
    if tests.is_empty() {
        bail!("no test in {} matches", dir.display());
    }
    tests.sort_by(|a, b| (a.boots, a.reboots, &a.name).cmp(&(b.boots, b.reboots, &b.name)));
    Ok(tests)
}

/// The limit that a script sets in a header line `# timeout: SECONDS`, and for its full length
/// in `# full timeout: SECONDS`.
fn limit(script: &str, full: bool) -> Result<Duration> {
    let for_full = if full { header(script, "full timeout:") } else { None };
    let Some(value) = for_full.or_else(|| header(script, "timeout:")) else { return Ok(DEFAULT_LIMIT) };
    let seconds = value.parse().context("`# timeout:` wants a number of seconds")?;
    Ok(Duration::from_secs(seconds))
}

/// What follows `key` in one of the comments that a script begins with.
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
        let found = find(dir.path(), &[], false).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.name.as_str(), test.limit.as_secs())).collect();
        assert_eq!(found, [("10-a", 120), ("20-b", 300)]);
    }

    #[test]
    fn the_full_length_has_a_limit_of_its_own() {
        let dir = tree(&[("a.sh", "# timeout: 9\n# full timeout: 900\n"), ("b.sh", "# timeout: 8\n")]);
        let limits = |full| {
            let found = find(dir.path(), &[], full).unwrap();
            found.iter().map(|test| test.limit.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(limits(false), [9, 8]);
        assert_eq!(limits(true), [900, 8]);
    }

    #[test]
    fn a_load_says_what_it_is() {
        let dir = tree(&[("a.sh", "#!/bin/sh\n# load: 10 processes\n"), ("b.sh", "echo\n# load: no\n")]);
        let found = find(dir.path(), &[], true).unwrap();
        let found: Vec<_> = found.iter().map(|test| test.load.as_deref()).collect();
        assert_eq!(found, [Some("10 processes"), None]);
    }

    #[test]
    fn what_reboots_comes_last() {
        let dir = tree(&[("a.sh", "# reboots\n"), ("b.sh", ""), ("c.sh", "true\n# reboots\n")]);
        let found = find(dir.path(), &[], false).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.name.as_str(), test.reboots)).collect();
        assert_eq!(found, [("b", false), ("c", false), ("a", true)]);
    }

    #[test]
    fn what_panics_says_so() {
        let dir = tree(&[("a.sh", "# panics\n"), ("b.sh", "# panics are no good\n")]);
        let found = find(dir.path(), &[], false).unwrap();
        let found: Vec<_> = found.iter().map(|test| test.panics).collect();
        assert_eq!(found, [true, false]);
    }

    #[test]
    fn patterns_choose() {
        let dir = tree(&[("load.sh", ""), ("unload.sh", ""), ("bench.sh", "")]);
        let found = find(dir.path(), &[Pattern::new("*load").unwrap()], false).unwrap();
        assert_eq!(found.len(), 2);
        assert!(find(dir.path(), &[Pattern::new("x*").unwrap()], false).is_err());
    }

    #[test]
    fn bad_trees_are_refused() {
        assert!(find(Path::new("/nonexistent"), &[], false).is_err());
        assert!(find(tree(&[("a b.sh", "")]).path(), &[], false).is_err());
        assert!(find(tree(&[("a.sh", "# timeout: soon\n")]).path(), &[], false).is_err());
    }
}
