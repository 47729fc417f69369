//! A writer that leaves holes for zeros, of which a disk image mostly consists.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// A writer to an empty file that skips blocks of zeros.
#[derive(Debug)]
pub struct SparseWriter {
    file: File,
    size: u64,
}

const BLOCK: usize = 4096;

impl SparseWriter {
    /// Creates a writer to an empty file.
    pub fn new(file: File) -> Self {
        Self { file, size: 0 }
    }

    /// Sets the file's full size and flushes it to disk.
    pub fn finish(self) -> io::Result<()> {
        self.file.set_len(self.size)?;
        self.file.sync_all()
    }
}

impl Write for SparseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for block in bytes.chunks(BLOCK) {
            if block.iter().all(|&byte| byte == 0) {
                self.file.seek(SeekFrom::Current(block.len() as i64))?;
            } else {
                self.file.write_all(block)?;
            }
            self.size += block.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_bytes_are_the_same() {
        let mut bytes = vec![0; 3 * BLOCK];
        bytes[BLOCK + 5] = 1;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = SparseWriter::new(file.reopen().unwrap());
        for piece in bytes.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), bytes);
    }
}
