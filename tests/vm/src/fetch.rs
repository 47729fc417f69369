//! `ktrace-vm fetch`: downloads the disk image that FreeBSD publishes for testing.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use liblzma::read::XzDecoder;
use sha2::{Digest, Sha512};

use crate::image::Arch;
use crate::sparse::SparseWriter;

/// Returns the URL of the image of a major release.
pub fn url_of(release: u32) -> Result<String> {
    let (version, kind) = match release {
        14 => ("14.3", "BASIC-CI"),
        15 => ("15.1", "BASIC-CI-ufs"),
        _ => bail!("no image of FreeBSD {release} is known: say --url"),
    };
    Ok(format!(
        "https://download.freebsd.org/releases/CI-IMAGES/{version}-RELEASE/amd64/Latest/\
         FreeBSD-{version}-RELEASE-amd64-{kind}.raw.xz"
    ))
}

/// Returns the local name of the image at `url`.
///
/// A file name such as `FreeBSD-14.3-RELEASE-amd64-BASIC-CI.raw.xz` gives `14-amd64`.
pub fn name_of(url: &str) -> Result<String> {
    let parts = || {
        let mut parts = url.rsplit('/').next()?.strip_prefix("FreeBSD-")?.split('-');
        let release = parts.next()?.split('.').next()?;
        let arch = match parts.nth(1)? {
            "amd64" => Arch::Amd64,
            "arm64" | "aarch64" => Arch::Arm64,
            _ => return None,
        };
        Some(format!("{release}-{arch}"))
    };
    parts().with_context(|| format!("{url} names no release and machine: say --to"))
}

/// Name of the checksum file beside the image.
const CHECKSUMS: &str = "CHECKSUM.SHA512";

/// Downloads the xz-compressed image at `url`, verifies its checksum, and unpacks it to `to`.
///
/// The checksums are published beside the image. `to` appears only when it is complete.
pub fn run(url: &str, to: &Path) -> Result<()> {
    let (base, name) = url.rsplit_once('/').context("the URL has no file name")?;
    let dir = to.parent().context("the image's path has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;

    let sums = tempfile::NamedTempFile::new_in(dir)?;
    download(&format!("{base}/{CHECKSUMS}"), sums.path(), false)?;
    let wanted = checksum(&fs::read_to_string(sums.path())?, name)
        .with_context(|| format!("{base}/{CHECKSUMS} has no SHA512 of {name}"))?;

    // Kept when a download breaks off, so that the next one resumes it.
    let packed = dir.join(format!("{name}.part"));
    let mut got = if packed.exists() { sha512(&packed)? } else { String::new() };
    if got != wanted {
        println!("downloading {url}");
        let again = || format!("remove {} to begin anew", packed.display());
        let resumed = packed.exists();
        download(url, &packed, true)
            .or_else(|e| if resumed { Err(e).with_context(again) } else { Err(e) })?;
        got = sha512(&packed)?;
    }
    if got != wanted {
        fs::remove_file(&packed)?;
        bail!("{url}: SHA512 is {got}, but {CHECKSUMS} says {wanted}; download removed");
    }
    println!("checksum is right, unpacking");
    unpack(&packed, to)?;
    fs::remove_file(&packed)?;
    println!("{} is ready", to.display());
    Ok(())
}

/// Downloads with curl, or with fetch(1) of FreeBSD's base system.
fn download(url: &str, to: &Path, resume: bool) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--show-error", "--output"]).arg(to);
    curl.args(if resume { ["--progress-bar", "--continue-at", "-"].as_slice() } else { &["--silent"] });
    let status = match curl.arg(url).status() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut fetch = Command::new("fetch");
            fetch.args(if resume { ["-r"].as_slice() } else { &["-q"] });
            fetch.arg("-o").arg(to).arg(url).status()
        }
        status => status,
    };
    let status = status.context("cannot download: neither curl nor fetch is installed")?;
    ensure!(status.success(), "cannot download {url} ({status})");
    Ok(())
}

/// Returns the checksum of `name` in `list`, whose lines have BSD's form `SHA512 (name) = digits`.
fn checksum(list: &str, name: &str) -> Option<String> {
    list.lines().find_map(|line| {
        let (file, digits) = line.trim().strip_prefix("SHA512 (")?.split_once(") = ")?;
        let matches = file.rsplit('/').next() == Some(name);
        (matches && digits.len() == 128).then(|| digits.to_ascii_lowercase())
    })
}

fn sha512(path: &Path) -> Result<String> {
    let mut hash = Sha512::new();
    io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct HashWriter<'a>(&'a mut Sha512);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unpack(packed: &Path, to: &Path) -> Result<()> {
    let shown = to.display();
    let dir = to.parent().context("the image's path has no directory")?;
    let file = tempfile::NamedTempFile::new_in(dir)?;
    let mut reader = XzDecoder::new_multi_decoder(BufReader::new(File::open(packed)?));
    let mut writer = SparseWriter::new(file.reopen()?);
    io::copy(&mut reader, &mut writer).with_context(|| format!("cannot unpack to {shown}"))?;
    writer.finish().with_context(|| format!("cannot write {shown}"))?;
    file.persist(to).with_context(|| format!("cannot create {shown}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_release_and_machine() {
        assert_eq!(name_of(&url_of(14).unwrap()).unwrap(), "14-amd64");
        let url = "https://a.org/b/FreeBSD-15.1-RELEASE-arm64-aarch64-BASIC-CI-ufs.raw.xz";
        assert_eq!(name_of(url).unwrap(), "15-arm64");
        assert!(name_of("file:///disk.raw.xz").is_err());
    }

    #[test]
    fn checksums_are_found_by_name() {
        let sum = "ab".repeat(64);
        let list = format!("SHA512 (x.raw.xz) = {}\nSHA512 (b/y.raw.xz) = {sum}\n", "0".repeat(128));
        assert_eq!(checksum(&list, "y.raw.xz"), Some(sum));
        assert_eq!(checksum(&list, "raw.xz"), None);
        assert_eq!(checksum("SHA512 (y) = 12\nSHA256 (y) = 34\n", "y"), None);
    }
}
