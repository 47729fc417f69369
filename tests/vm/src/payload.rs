//! Files for the guest: a tar archive on a disk of its own.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, Header, HeaderMode};

use crate::image::Arch;

/// Files that the guest gets.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// Directory with the build of each target, a release and a machine as in `15-amd64`.
    ///
    /// A target has `ktrace_rs.ko`, `invariants/ktrace_rs.ko`, and `guest/`, a tree with `tests/`,
    /// `bench/`, `bin/` and `atf/`.
    pub targets: PathBuf,
    /// Backend that traces where a test asks for the module.
    pub backend: Backend,
    /// Whether tests run at full length and leave figures.
    pub full: bool,
    /// Further guest tests besides those of the tree, by name.
    pub scripts: Vec<(String, String)>,
}

/// Backend that traces where a test asks for the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// The module.
    #[default]
    Module,
    /// The kernel's own backend. Loading the module does nothing.
    Stock,
    /// No backend. The guest gets no module, and a test that asks for it is skipped.
    None,
}

/// The runner's script in the guest, and the helpers that guest tests use.
const OWN: &[(&str, &str)] =
    &[("run.sh", include_str!("../guest/run.sh")), ("lib.sh", include_str!("../guest/lib.sh"))];

/// FreeBSD releases that have targets, the preferred one first.
const RELEASES: [u32; 2] = [15, 14];

/// Modules of a target. The first is for kernels without INVARIANTS.
pub const MODULES: [&str; 2] = ["ktrace_rs.ko", "invariants/ktrace_rs.ko"];

/// Unit of which a disk's size is a multiple.
const DISK_UNIT: u64 = 1 << 20;

/// Returns the targets of a machine, by release.
pub fn targets(arch: Arch) -> impl Iterator<Item = String> {
    RELEASES.into_iter().map(move |release| format!("{release}-{arch}"))
}

impl Payload {
    /// Writes the disk for a machine to `path`.
    ///
    /// It has all targets of the machine. The guest uses the target of its kernel's release.
    pub fn write(&self, arch: Arch, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut tar = Builder::new(file);
        // Files are owned by root, whichever user runs this.
        tar.mode(HeaderMode::Deterministic);
        for target in targets(arch) {
            self.append_target(&mut tar, &target)?;
        }
        let mut file = tar.into_inner()?;
        let size = file.stream_position()?;
        file.set_len(size.next_multiple_of(DISK_UNIT))?;
        Ok(())
    }

    fn append_target(&self, tar: &mut Builder<File>, target: &str) -> Result<()> {
        let built = self.targets.join(target);
        let files = built.join("guest");
        if files.is_dir() {
            tar.append_dir_all(target, &files)
                .with_context(|| format!("cannot hand in {}", files.display()))?;
        }
        for name in MODULES {
            let module = built.join(name);
            if self.backend == Backend::Module && module.is_file() {
                tar.append_path_with_name(&module, format!("{target}/{name}"))
                    .with_context(|| format!("cannot hand in {}", module.display()))?;
            }
        }
        let backend = match self.backend {
            Backend::Module => "module\n",
            Backend::Stock => "stock\n",
            Backend::None => "none\n",
        };
        let length = if self.full { "full\n" } else { "short\n" };
        for (name, text) in OWN.iter().chain(&[("backend", backend), ("length", length)]) {
            append(tar, &format!("{target}/{name}"), text)?;
        }
        for (name, text) in &self.scripts {
            append(tar, &format!("{target}/tests/{name}.sh"), text)?;
        }
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
        for file in ["15-amd64/guest/bin/prog", "15-amd64/invariants/ktrace_rs.ko", "15-arm64/ktrace_rs.ko"] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        let disk = dir.path().join("disk");
        let payload = Payload {
            targets: dir.path().into(),
            scripts: vec![("_exec".into(), "uname".into())],
            ..Payload::default()
        };
        let names = |payload: &Payload, arch| {
            payload.write(arch, &disk).unwrap();
            assert_eq!(fs::metadata(&disk).unwrap().len(), DISK_UNIT);
            let mut archive = Archive::new(File::open(&disk).unwrap());
            let entries = archive.entries().unwrap();
            let names = entries.map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned());
            names.filter(|name| !name.ends_with('/')).collect::<Vec<_>>()
        };
        let own = ["run.sh", "lib.sh", "backend", "length", "tests/_exec.sh"];
        let own = |target: &str| own.map(|name| format!("{target}/{name}")).to_vec();
        let built = ["15-amd64/bin", "15-amd64/bin/prog", "15-amd64/invariants/ktrace_rs.ko"];
        assert_eq!(
            names(&payload, Arch::Amd64),
            [built.map(String::from).to_vec(), own("15-amd64"), own("14-amd64")].concat()
        );
        let none = Payload { backend: Backend::None, ..payload };
        assert_eq!(names(&none, Arch::Arm64), [own("15-arm64"), own("14-arm64")].concat());
    }
}
