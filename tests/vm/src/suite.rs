//! The guest tests: which there are, and how long each may take.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use glob::Pattern;

/// One guest test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The script's name without `.sh`.
    pub name: String,
    /// How long it may take.
    pub limit: Duration,
}

/// How long a test may take that does not say.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// The tests in `tests/*.sh` below `files`, in the order of their names; only those
/// whose name matches one of the patterns in `only`, if there are any.
pub fn find(files: &Path, only: &[Pattern]) -> Result<Vec<Test>> {
    let dir = files.join("tests");
    let entries = fs::read_dir(&dir).with_context(|| format!("no tests in {}", dir.display()))?;
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
            let limit = limit(&text).with_context(|| path.display().to_string())?;
            tests.push(Test { name, limit });
        }
    }
    if tests.is_empty() {
        bail!("no test in {} matches", dir.display());
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tests)
}

/// The limit that a script sets in a header line `# timeout: SECONDS`.
fn limit(script: &str) -> Result<Duration> {
    let header = script.lines().take_while(|line| line.starts_with('#') || line.is_empty());
    for line in header {
        if let Some(value) = line.trim_start_matches('#').trim().strip_prefix("timeout:") {
            let seconds = value.trim().parse().context("`# timeout:` wants a number of seconds")?;
            return Ok(Duration::from_secs(seconds));
        }
    }
    Ok(DEFAULT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(scripts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tests")).unwrap();
        for (name, text) in scripts {
            fs::write(dir.path().join("tests").join(name), text).unwrap();
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
        let found = find(dir.path(), &[]).unwrap();
        let found: Vec<_> = found.iter().map(|test| (test.name.as_str(), test.limit.as_secs())).collect();
        assert_eq!(found, [("10-a", 120), ("20-b", 300)]);
    }

    #[test]
    fn patterns_choose() {
        let dir = tree(&[("load.sh", ""), ("unload.sh", ""), ("bench.sh", "")]);
        let found = find(dir.path(), &[Pattern::new("*load").unwrap()]).unwrap();
        assert_eq!(found.len(), 2);
        assert!(find(dir.path(), &[Pattern::new("x*").unwrap()]).is_err());
    }

    #[test]
    fn bad_trees_are_refused() {
        assert!(find(Path::new("/nonexistent"), &[]).is_err());
        assert!(find(tree(&[("a b.sh", "")]).path(), &[]).is_err());
        assert!(find(tree(&[("a.sh", "# timeout: soon\n")]).path(), &[]).is_err());
    }
}
