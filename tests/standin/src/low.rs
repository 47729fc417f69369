//! Memory of the stand-in's kernel: memory within reach of the module's relocations, and other
//! mappings.

use crate::host::violation;
use crate::machine::NEAR;

/// The size of a page.
pub(crate) const PAGE: usize = 4096;

/// Rounds a length up to whole pages.
pub(crate) fn pages(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

/// Mapped memory. It stays mapped unless it is unmapped or retired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) base: usize,
    pub(crate) len: usize,
}

impl Region {
    /// Maps writable memory within reach of the module's relocations.
    pub(crate) fn near(len: usize) -> Region {
        Region::map(len, libc::PROT_READ | libc::PROT_WRITE, NEAR)
    }

    /// Maps writable memory at two places.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn twice(len: usize) -> (Region, Region) {
        let len = pages(len);
        // SAFETY: the file is new, and so are its mappings.
        let places = unsafe {
            let file = libc::memfd_create(c"text".as_ptr(), 0);
            assert!(file >= 0 && libc::ftruncate(file, len as i64) == 0, "memfd_create");
            [0, 1].map(|_| {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file, 0)
            })
        };
        assert!(!places.contains(&libc::MAP_FAILED), "mmap: {}", std::io::Error::last_os_error());
        let [one, other] = places.map(|base| Region { base: base as usize, len });
        (one, other)
    }

    /// Maps memory anywhere, inaccessible at first.
    pub(crate) fn reserve(len: usize) -> Region {
        Region::map(len, libc::PROT_NONE, libc::MAP_NORESERVE)
    }

    /// Maps writable memory anywhere.
    pub(crate) fn anywhere(len: usize) -> Region {
        Region::map(len, libc::PROT_READ | libc::PROT_WRITE, 0)
    }

    fn map(len: usize, protection: i32, flags: i32) -> Region {
        let len = pages(len);
        // SAFETY: the mapping is new, and replaces none.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Region { base: base as usize, len }
    }

    pub(crate) fn contains(&self, address: usize) -> bool {
        (self.base..self.base + self.len).contains(&address)
    }

    /// Sets the protection of a part of the region, from `offset`.
    pub(crate) fn protect(&self, offset: usize, len: usize, protection: i32) {
        assert!(offset.is_multiple_of(PAGE) && offset + pages(len) <= self.len, "pages of the region");
        protect(self.base + offset, pages(len), protection);
    }

    /// Returns the memory to the host.
    pub(crate) fn unmap(self) {
        // SAFETY: no thread uses the memory any more.
        unsafe { libc::munmap(self.base as *mut _, self.len) };
    }

    /// Makes the memory inaccessible for good, so that later accesses are found.
    pub(crate) fn retire(&self) {
        retire(self.base, self.len);
    }
}

/// Makes whole pages inaccessible for good. They are mapped anew, so that the host can merge them
/// with neighbouring retired pages. The host limits the number of mappings.
pub(crate) fn retire(address: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the pages are part of a region that has no user any more. A late access raises a
    // signal.
    let mapped = unsafe { libc::mmap(address as *mut _, len, libc::PROT_NONE, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        violation!(Memory, "mmap: {}", std::io::Error::last_os_error());
    }
}

/// Sets the protection of whole pages.
pub(crate) fn protect(address: usize, len: usize, protection: i32) {
    // SAFETY: an access that the protection forbids raises a signal, which is reported.
    if unsafe { libc::mprotect(address as *mut _, len, protection) } != 0 {
        let error = std::io::Error::last_os_error();
        let remedy = if error.raw_os_error() == Some(libc::ENOMEM) {
            "; the host has a limit of mappings: sysctl vm.max_map_count"
        } else {
            ""
        };
        violation!(Memory, "mprotect: {error}{remedy}");
    }
}
