//! Memory of the kernel: what the module's relocations reach, and whatever else is mapped.

use crate::host::violation;
use crate::machine::NEAR;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// Rounded up to whole pages.
pub(crate) fn pages(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}

/// Memory that was mapped, and stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) base: usize,
    pub(crate) len: usize,
}

impl Region {
    /// Writable memory that the module's relocations reach.
    pub(crate) fn near(len: usize) -> Region {
        Region::map(len, libc::PROT_READ | libc::PROT_WRITE, NEAR)
    }

    /// Writable memory that is mapped at two places.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn twice(len: usize) -> (Region, Region) {
        let len = pages(len);
        // SAFETY: a new file, and new mappings of it.
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

    /// Memory anywhere that nobody may touch yet.
    pub(crate) fn reserve(len: usize) -> Region {
        Region::map(len, libc::PROT_NONE, libc::MAP_NORESERVE)
    }

    /// Writable memory anywhere.
    pub(crate) fn anywhere(len: usize) -> Region {
        Region::map(len, libc::PROT_READ | libc::PROT_WRITE, 0)
    }

    fn map(len: usize, protection: i32, flags: i32) -> Region {
        let len = pages(len);
        // SAFETY: a new mapping; nothing that is there is replaced.
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

    /// Sets what may be done with a part of it, from `offset`.
    pub(crate) fn protect(&self, offset: usize, len: usize, protection: i32) {
        assert!(offset.is_multiple_of(PAGE) && offset + pages(len) <= self.len, "pages of the region");
        protect(self.base + offset, pages(len), protection);
    }

    /// Gives its memory back to the host.
    pub(crate) fn unmap(self) {
        // SAFETY: nobody uses the memory any more.
        unsafe { libc::munmap(self.base as *mut _, self.len) };
    }

    /// Takes its memory away for good: whoever touches it is found.
    pub(crate) fn retire(&self) {
        retire(self.base, self.len);
    }
}

/// Takes whole pages away for good. They are mapped anew, which the host can merge with pages around them that were
/// taken away earlier; it has a limit of mappings.
pub(crate) fn retire(address: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the pages are part of a region, whose memory nobody has any more; who uses it gets a signal.
    let mapped = unsafe { libc::mmap(address as *mut _, len, libc::PROT_NONE, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        violation!(Memory, "mmap: {}", std::io::Error::last_os_error());
    }
}

/// Sets what may be done with whole pages.
pub(crate) fn protect(address: usize, len: usize, protection: i32) {
    // SAFETY: whoever uses the memory otherwise gets a signal, which is reported.
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
