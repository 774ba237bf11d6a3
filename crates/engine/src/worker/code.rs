//! Compiled code in a process that may open no file: `descriptor -> mapping -> executable`.
//!
//! wasmtime maps compiled code from a path by itself; here there are no paths, so the mapping is made from the descriptor the
//! node sent, and made executable when wasmtime asks for it. The pages stay those of the file, shared with every other worker
//! that runs the same component.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};
use wasmtime::CustomCodeMemory;

/// A whole compiled component in memory, for as long as the process lives.
///
/// It is never unmapped: nothing tells when the last instance, signal table or unwinder has let go of the code, address space
/// is plenty, and the system takes back clean pages of a file when it needs them. A worker whose tenant has left ends anyway.
pub(crate) struct CodeFile(NonNull<[u8]>);

impl CodeFile {
    /// Map `len` bytes of `file`, to be read only.
    #[expect(unsafe_code, reason = "mapping a file")]
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a mapping at a place that the kernel chooses, which takes the place of nothing.
        let at = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
        let start = NonNull::new(at.cast::<u8>()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self(NonNull::slice_from_raw_parts(start, len)))
    }

    pub(crate) fn memory(&self) -> NonNull<[u8]> {
        self.0
    }
}

/// Makes mapped code executable.
pub(crate) struct Publisher {
    page_bytes: usize,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            page_bytes: rustix::param::page_size(),
        }
    }

    #[expect(unsafe_code, reason = "changes what may be done with memory")]
    fn protect(&self, start: *const u8, len: usize, how: MprotectFlags) -> wasmtime::Result<()> {
        let len = len.next_multiple_of(self.page_bytes);
        // SAFETY: wasmtime gives the text of one component, aligned to a page as asked below; what shares its last page is read
        // only. Nothing writes to the mapping, and code is only run after this.
        unsafe { mprotect(start.cast_mut().cast(), len, how) }.map_err(wasmtime::Error::from)
    }
}

impl CustomCodeMemory for Publisher {
    fn required_alignment(&self) -> usize {
        self.page_bytes
    }

    fn publish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        self.protect(start, len, MprotectFlags::READ | MprotectFlags::EXEC)
    }

    fn unpublish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        self.protect(start, len, MprotectFlags::READ)
    }
}
