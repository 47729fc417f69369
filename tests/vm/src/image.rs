//! Disk images: where they are looked for, and what format they have.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A disk image to boot from. It is never written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it lies.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

/// A disk image's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl Format {
    /// The format's name for QEMU.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Image {
    /// Opens the image at `path` and looks what it is.
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
        Ok(Self { path: path.into(), format })
    }

    /// The file's name without its extension: how results of this image are told apart.
    pub fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Where the image lies that is taken when none is named:
/// `${XDG_CACHE_HOME:-~/.cache}/ktrace_rs/freebsd.img`.
pub fn default_path() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => cache,
        (None, Some(home)) => home.join(".cache"),
        (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set: name an --image"),
    };
    Ok(cache.join("ktrace_rs").join("freebsd.img"))
}

/// The images that are taken when none is named and they exist: the default one, and
/// `freebsd-debug.img` (a kernel with INVARIANTS and WITNESS) beside it.
pub fn defaults() -> Result<Vec<PathBuf>> {
    let plain = default_path()?;
    let debug = plain.with_file_name("freebsd-debug.img");
    Ok([plain, debug].into_iter().filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn probe(start: &[u8]) -> Result<Image> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("freebsd.img");
        fs::write(&path, start).unwrap();
        Image::probe(&path)
    }

    #[test]
    fn tells_formats_apart() {
        assert_eq!(probe(b"QFI\xfb\0\0\0\x03").unwrap().format, Format::Qcow2);
        assert_eq!(probe(&[0; 512]).unwrap().format, Format::Raw);
        assert_eq!(probe(&[0; 512]).unwrap().stem(), "freebsd");
    }

    #[test]
    fn refuses_what_is_no_disk() {
        assert!(probe(b"\xfd7zXZ\0\0").unwrap_err().to_string().contains("compressed"));
        assert!(probe(b"").is_err());
        assert!(Image::probe(Path::new("/nonexistent/image")).is_err());
    }
}
