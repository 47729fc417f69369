//! Sources of a trace's bytes.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// A trace of known size whose bytes can be read in any order.
pub trait Source {
    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes at `offset`. The trace has that many bytes there.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Returns the first offset at or after `offset` where there may be a byte other than zero.
    ///
    /// Returns the size if there is none.
    fn data_from(&self, offset: u64) -> u64;
}

/// A regular file, of the length that it had when it was opened.
#[derive(Debug)]
pub struct TraceFile {
    file: File,
    size: u64,
}

impl TraceFile {
    /// Opens a file.
    pub fn open(path: &Path) -> io::Result<TraceFile> {
        // Check before the open: opening a fifo blocks until a writer opens it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(TraceFile { file, size })
    }
}

impl Source for TraceFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn data_from(&self, offset: u64) -> u64 {
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.min(self.size),
            Err(Errno::NXIO) => self.size,
            // The file system does not support holes.
            Err(_) => offset,
        }
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn data_from(&self, offset: u64) -> u64 {
        offset
    }
}
