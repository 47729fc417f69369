//! Results from the guest: a tar archive that it writes to a disk after each test.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::Archive;

/// Size of the results disk, a sparse file, and so a bound on the results of one test.
pub const DISK_SIZE: u64 = 64 << 20;

/// Results that a test left on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// Output of the test.
    pub log: String,
    /// Notes of the runner's script in the guest.
    pub notes: String,
    /// Skipped parts of the test, a line for each, that need something missing in the image.
    pub left_out: String,
}

/// Creates an empty results disk at `path`.
pub fn create_disk(path: &Path) -> Result<()> {
    File::create(path)?.set_len(DISK_SIZE)?;
    Ok(())
}

/// Unpacks the results of test `name` from the disk into the directory `name` in `out`.
pub fn take(disk: &Path, name: &str, out: &Path) -> Result<Results> {
    let own = out.join(name);
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir_all(out)?;
    let mut found = false;
    let mut archive = Archive::new(File::open(disk)?);
    for entry in archive.entries().context("no tar on the results disk")? {
        let mut entry = entry.context("damaged tar on the results disk")?;
        let kind = entry.header().entry_type();
        if entry.path()?.starts_with(name) && (kind.is_file() || kind.is_dir()) {
            found |= entry.unpack_in(out)?;
        }
    }
    if !found {
        bail!("the results disk holds nothing of {name}");
    }
    let text = |file| read(&own.join(file));
    Ok(Results { log: text("log"), notes: text("notes"), left_out: text("left_out") })
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::{Seek, Write};
    use tar::{Builder, Header};

    fn write(disk: &Path, files: &[(&str, &str)]) {
        let mut tar = Builder::new(OpenOptions::new().write(true).open(disk).unwrap());
        for (name, text) in files {
            let mut header = Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let mut file = tar.into_inner().unwrap();
        assert!(file.stream_position().unwrap() < DISK_SIZE);
        file.flush().unwrap();
    }

    #[test]
    fn a_tests_files_come_out_and_a_longer_older_tar_does_not_show_through() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, out) = (dir.path().join("disk"), dir.path().join("out"));
        create_disk(&disk).unwrap();
        write(&disk, &[("old/log", &"long ".repeat(5000)), ("old/notes", "n")]);
        assert_eq!(take(&disk, "old", &out).unwrap().notes, "n");
        write(&disk, &[("new/log", "line\n"), ("new/figures", "1")]);
        let results = take(&disk, "new", &out).unwrap();
        assert_eq!(results, Results { log: "line\n".into(), ..Results::default() });
        assert_eq!(fs::read_to_string(out.join("new/figures")).unwrap(), "1");
        assert!(take(&disk, "old", &out).is_err());
    }

    #[test]
    fn an_empty_disk_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        create_disk(&disk).unwrap();
        assert!(take(&disk, "any", dir.path()).unwrap_err().to_string().contains("nothing of any"));
    }
}
