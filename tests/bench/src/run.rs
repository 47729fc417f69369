//! The directories that the VM runner leaves: one for each image, with one for each test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The results of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// Directory with the files of the tests.
    pub dir: PathBuf,
    /// The system, as in `FreeBSD 15.1-RELEASE amd64 GENERIC`.
    pub system: String,
    /// QEMU's options for the machine.
    pub hardware: String,
}

impl Run {
    /// Reads the runs in the directory `out`, in the order of their names.
    ///
    /// Kernels with debugging checks are left out, because nobody measures them.
    pub fn all(out: &Path) -> Result<Vec<Self>> {
        let runs = directories(out)?.into_iter().filter(|dir| dir.join("system").is_file());
        let mut runs: Vec<_> = runs.map(|dir| Self::read(&dir)).collect::<Result<_>>()?;
        runs.retain(|run| !run.system.ends_with("(WITNESS)"));
        Ok(runs)
    }

    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("system");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (system, hardware) = text.trim_end().split_once('\n').context("not two lines")?;
        Ok(Self { dir: dir.into(), system: system.into(), hardware: hardware.into() })
    }

    /// Returns the run of the same image by instructions, if there is one.
    pub fn by_instructions(&self) -> Result<Self> {
        let dir = self.dir.join("instructions");
        if dir.is_dir() { Self::read(&dir) } else { Ok(Self::default()) }
    }

    /// Returns the contents of the files of this name, by test.
    pub fn files(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        for dir in directories(&self.dir)? {
            let path = dir.join(name);
            if path.is_file() {
                let test = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                files.insert(test, text);
            }
        }
        Ok(files)
    }
}

/// Returns the directories in `dir`, in the order of their names. A run that was not made has none.
fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths)
}

/// Writes the files of a run of the system, for tests.
#[cfg(test)]
pub fn write(dir: &Path, system: &str, files: &[(&str, &str)]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("system"), format!("{system}\n-accel tcg\n")).unwrap();
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_image_and_test() {
        let out = tempfile::tempdir().unwrap();
        let image = out.path().join("15-amd64");
        write(&image, "FreeBSD 15", &[("b/figures", "2"), ("a/figures", "1"), ("c/log", "")]);
        write(&image.join("instructions"), "FreeBSD 15", &[("a/figures", "3")]);
        write(&out.path().join("15-amd64-debug"), "FreeBSD 15 (WITNESS)", &[("a/figures", "4")]);
        let runs = Run::all(out.path()).unwrap();
        assert_eq!(runs.len(), 1);
        let figures = |run: &Run| run.files("figures").unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(figures(&runs[0]), [("a".into(), "1".into()), ("b".into(), "2".into())]);
        let counted = runs[0].by_instructions().unwrap();
        assert_eq!(figures(&counted), [("a".into(), "3".into())]);
        assert_eq!(figures(&counted.by_instructions().unwrap()), []);
        assert_eq!((runs[0].system.as_str(), runs[0].hardware.as_str()), ("FreeBSD 15", "-accel tcg"));
    }
}
