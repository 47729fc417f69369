//! Disk images: their location, their machine and their format.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A disk image to boot from, which is never written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Path of the image.
    pub path: PathBuf,
    /// Format of the image.
    pub format: Format,
    /// Machine that the image is for.
    pub arch: Arch,
}

/// Format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The plain bytes of the disk.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

impl Format {
    /// Returns the format's name for QEMU.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Machine architecture, by FreeBSD's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

impl Image {
    /// Opens the image at `path` and detects its format and machine.
    pub fn probe(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("cannot open image {shown}"))?;
        let mut start = [0; 6];
        file.read_exact(&mut start).with_context(|| format!("cannot read image {shown}"))?;
        let format = match &start {
            b"\xfd7zXZ\0" => bail!("image {shown} is compressed: unpack it with xz first"),
            [b'Q', b'F', b'I', 0xfb, ..] => Format::Qcow2,
            _ => Format::Raw,
        };
        let mut image = Self { path: path.into(), format, arch: Arch::Amd64 };
        image.arch = match image.stem() {
            stem if stem.contains("arm64") || stem.contains("aarch64") => Arch::Arm64,
            stem if stem.contains("amd64") => Arch::Amd64,
            _ => image.boots_on().with_context(|| format!("cannot read image {shown}"))?,
        };
        Ok(image)
    }

    /// Returns the file name without its extension, which also names the results of the image.
    pub fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the size of the disk in bytes.
    pub fn size(&self) -> Result<u64> {
        let mut file = File::open(&self.path)?;
        match self.format {
            Format::Raw => Ok(file.metadata()?.len()),
            Format::Qcow2 => {
                // The size follows the magic, the version, and the reference to a backing file's
                // name.
                let mut header = [0; 32];
                file.read_exact(&mut header).context("no header of qcow2")?;
                let size = header[24..].try_into().context("no size")?;
                Ok(u64::from_be_bytes(size))
            }
        }
    }

    /// Returns the machine whose loader is on the EFI system partition.
    ///
    /// The partition lies within the first megabytes. Its directory `EFI/BOOT` has the loader's
    /// name in 8.3 form.
    fn boots_on(&self) -> Result<Arch> {
        const LOADER: &[u8] = b"BOOTAA64EFI";
        const SEARCHED: u64 = 64 << 20;
        let mut start = Vec::new();
        match self.format {
            Format::Raw => File::open(&self.path)?.take(SEARCHED).read_to_end(&mut start)?,
            Format::Qcow2 => {
                let dir = tempfile::tempdir()?;
                let raw = dir.path().join("start");
                let status = Command::new("qemu-img")
                    .args(["dd", "-f", "qcow2", "-O", "raw", "bs=1M"])
                    .arg(format!("count={}", SEARCHED >> 20))
                    .arg(format!("if={}", self.path.display()))
                    .arg(format!("of={}", raw.display()))
                    .stdout(Stdio::null())
                    .status()
                    .map_err(|error| io::Error::new(error.kind(), "cannot start qemu-img"))?;
                if !status.success() {
                    bail!("qemu-img cannot read it");
                }
                File::open(raw)?.read_to_end(&mut start)?
            }
        };
        let found = start.windows(LOADER.len()).any(|bytes| bytes == LOADER);
        Ok(if found { Arch::Arm64 } else { Arch::Amd64 })
    }
}

/// Names of the images that are searched for, without `.img`.
///
/// A single command uses the first that exists. Images with a debugging kernel come last.
pub const NAMES: [&str; 6] =
    ["15-amd64", "14-amd64", "15-arm64", "15-amd64-debug", "14-amd64-debug", "15-arm64-debug"];

/// Returns the directory of the images: `${XDG_CACHE_HOME:-~/.cache}/ktrace_rs`.
pub fn dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => cache,
        (None, Some(home)) => home.join(".cache"),
        (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set: name an --image"),
    };
    Ok(cache.join("ktrace_rs"))
}

/// Returns the path of the image of this name.
pub fn path(name: &str) -> Result<PathBuf> {
    Ok(dir()?.join(format!("{name}.img")))
}

/// Opens the images that exist, in the order of [`NAMES`].
pub fn found() -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for name in NAMES {
        let path = path(name)?;
        if path.is_file() {
            images.push(Image::probe(&path)?);
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn probe(name: &str, start: &[u8]) -> Result<Image> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, start).unwrap();
        Image::probe(&path)
    }

    #[test]
    fn tells_formats_apart() {
        assert_eq!(probe("amd64.img", b"QFI\xfb\0\0\0\x03").unwrap().format, Format::Qcow2);
        assert_eq!(probe("any.img", &[0; 512]).unwrap().format, Format::Raw);
        assert_eq!(probe("any.img", &[0; 512]).unwrap().stem(), "any");
    }

    #[test]
    fn tells_machines_apart() {
        let esp = |name: &[u8]| [&[0; 70_000], name, &[0; 512][..]].concat();
        for (name, start, arch) in [
            ("15-arm64-debug.img", vec![0; 512], Arch::Arm64),
            ("15-amd64.img", esp(b"BOOTAA64EFI"), Arch::Amd64),
            ("any.img", esp(b"BOOTAA64EFI"), Arch::Arm64),
            ("any.img", esp(b"BOOTX64 EFI"), Arch::Amd64),
        ] {
            assert_eq!(probe(name, &start).unwrap().arch, arch, "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_disk() {
        assert!(probe("a.img", b"\xfd7zXZ\0\0").unwrap_err().to_string().contains("compressed"));
        assert!(probe("a.img", b"").is_err());
        assert!(Image::probe(Path::new("/nonexistent/image")).is_err());
    }
}
