//! What is handed to the guest: a tar on a disk of its own.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, Header, HeaderMode};

/// The files that the guest gets.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The module, if it is to be at hand.
    pub module: Option<PathBuf>,
    /// A tree with `tests/`, `bench/`, `bin/` and `atf/`.
    pub files: Option<PathBuf>,
    /// Whether tests are to leave the module out, and trace with the stock backend.
    pub stock: bool,
    /// Whether tests are to run at full length, and leave figures.
    pub full: bool,
    /// Guest tests beside those of the tree, by name.
    pub scripts: Vec<(String, String)>,
}

/// The guest's side of the runner, and the helpers that guest tests use.
const OWN: &[(&str, &str)] =
    &[("run.sh", include_str!("../guest/run.sh")), ("lib.sh", include_str!("../guest/lib.sh"))];

/// A disk's size is a multiple of this.
const DISK_UNIT: u64 = 1 << 20;

impl Payload {
    /// Writes the disk at `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut tar = Builder::new(file);
        // Owner root, whoever runs this.
        tar.mode(HeaderMode::Deterministic);
        if let Some(files) = &self.files {
            tar.append_dir_all(".", files).with_context(|| format!("cannot hand in {}", files.display()))?;
        }
        if let Some(module) = &self.module {
            tar.append_path_with_name(module, "ktrace_rs.ko")
                .with_context(|| format!("cannot hand in {}", module.display()))?;
        }
        for (name, text) in OWN {
            append(&mut tar, name, text)?;
        }
        append(&mut tar, "backend", if self.stock { "stock\n" } else { "module\n" })?;
        append(&mut tar, "length", if self.full { "full\n" } else { "short\n" })?;
        for (name, text) in &self.scripts {
            append(&mut tar, &format!("tests/{name}.sh"), text)?;
        }
        let mut file = tar.into_inner()?;
        let size = file.stream_position()?;
        file.set_len(size.next_multiple_of(DISK_UNIT))?;
        Ok(())
    }
}

fn append(tar: &mut Builder<impl Write>, name: &str, text: &str) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tar::Archive;

    #[test]
    fn everything_is_in_and_the_disk_is_padded() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        fs::create_dir_all(files.join("bin")).unwrap();
        fs::write(files.join("bin/prog"), "x").unwrap();
        let module = dir.path().join("built.ko");
        fs::write(&module, "module").unwrap();
        let disk = dir.path().join("disk");
        let payload = Payload {
            module: Some(module),
            files: Some(files),
            stock: true,
            full: true,
            scripts: vec![("_exec".into(), "uname".into())],
        };
        payload.write(&disk).unwrap();

        assert_eq!(fs::metadata(&disk).unwrap().len(), DISK_UNIT);
        let mut archive = Archive::new(File::open(&disk).unwrap());
        let mut names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with('/'))
            .collect();
        names.sort();
        let wanted = ["backend", "bin/prog", "ktrace_rs.ko", "length", "lib.sh", "run.sh", "tests/_exec.sh"];
        for name in wanted {
            assert!(names.iter().any(|found| found.trim_start_matches("./") == name), "{names:?}");
        }
    }

    #[test]
    fn a_missing_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let payload = Payload { module: Some("/nonexistent/x.ko".into()), ..Payload::default() };
        let error = payload.write(&dir.path().join("disk")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.ko"), "{error}");
    }
}
