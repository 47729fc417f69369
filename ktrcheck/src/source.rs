//! Where the bytes of a trace come from.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// A trace of a size that is known, whose bytes can be read in any order.
pub trait Source {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Reads what is at `offset` until `buffer` is full. There are as many bytes before the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The first offset from `offset` on at which there may be anything but zeroes; the size if
    /// there is none.
    fn data_from(&self, offset: u64) -> u64;
}

/// A regular file, as long as it was when it was opened.
#[derive(Debug)]
pub struct TraceFile {
    file: File,
    size: u64,
}

impl TraceFile {
    /// Opens a file.
    pub fn open(path: &Path) -> io::Result<TraceFile> {
        // Asked before it is opened: opening a fifo waits for who writes to it.
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
            // A file system that knows no holes.
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
