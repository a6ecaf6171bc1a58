//! Shared memory in sealed memfds.
//!
//! [`Memory`] is sealed against writing: its content never changes and can be borrowed.
//! [`MemoryWriter`] and [`MemoryReader`] copy from and to memory that can change.
//!
//! # Safety
//!
//! A slice is made of the mapping of a [`Memory`], whose memfd is sealed against writing and
//! shrinking. The kernel adds `F_SEAL_WRITE` only if no writable shared mapping exists, and never
//! removes a seal (fcntl(2)). So no process, including this one, can change or remove these bytes.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::MapFlags;

use crate::platform::unix::mapping::{self, Mapping, Share};
use crate::platform::unix::received::Received;
use crate::platform::unix::{Unix, limits};
use crate::platform::{
    contract,
    words::{self, WORD_BYTES},
};

/// `TMPFS_MAGIC` of linux/magic.h: the file system of memfds. Huge-page memfds are not on it, and
/// can run out of pages at an access.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The size of the chunks in which [`fill`] writes.
const FILL_BYTES: usize = 1 << 16;

/// The size of the chunks in which [`reserve`] allocates. A call that a signal interrupts gives
/// back what it has allocated, so that calls for all pages might never come to an end.
const RESERVED_BYTES: usize = 1 << 22;

/// How a sealed file is mapped. Linux before 6.7 refuses `MAP_SHARED` for files with
/// `F_SEAL_WRITE`, even read-only. A private mapping that is never written consists of the same
/// pages.
const SEALED: MapFlags = MapFlags::PRIVATE;

/// Memory whose content never changes, and that several processes map. Clones share one mapping and
/// one file descriptor. It is never empty.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

/// A memfd, and all of it mapped.
#[derive(Debug)]
pub(in crate::platform) struct Shared {
    fd: OwnedFd,
    mapping: Mapping,
}

impl contract::Memory for Memory {
    fn new(len: usize) -> io::Result<Memory> {
        Memory::written(len, |_| Ok(()))
    }

    fn from_bytes(bytes: &[u8]) -> io::Result<Memory> {
        Memory::written(bytes.len(), |fd| write_all(fd, 0, bytes))
    }

    fn from_byte(byte: u8, len: usize) -> io::Result<Memory> {
        // A hole reads as zeros, and takes no time.
        Memory::written(len, |fd| if byte == 0 { Ok(()) } else { fill(fd, byte, len) })
    }

    fn size(&self) -> usize {
        self.0.mapping.len()
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is valid for reads of so many bytes while `self` is borrowed; bytes
        // are always aligned and initialized; `F_SEAL_WRITE` keeps them from changing; `Mapping` is
        // not longer than `isize::MAX`.
        unsafe { slice::from_raw_parts(self.0.mapping.as_ptr(), self.size()) }
    }
}

impl Memory {
    /// Makes memory with the content that `write` writes to its file descriptor. A writable mapping
    /// would be copied by a concurrent `fork`, and sealing would fail while the child has it.
    fn written(
        len: usize,
        write: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Memory> {
        let fd = new_file("strait", len as u64)?;
        // Before pages are allocated, so that a length beyond the address space fails at once.
        let mapping = Mapping::read_only(fd.as_fd(), len, SEALED, None)?;
        write(fd.as_fd())?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok(Memory(Arc::new(Shared { fd, mapping })))
    }

    /// Maps a file that a peer sent, if the kernel guarantees that no process changes or shortens
    /// it.
    pub(in crate::platform) fn from_received(fd: Received, len: u64) -> io::Result<Memory> {
        let len = check_len(len)?;
        check_file(fd.as_fd())?;
        if !seals(fd.as_fd())?.contains(SealFlags::WRITE) {
            return Err(refuse("not sealed against writing"));
        }
        check_length(fd.as_fd(), len as u64)?;
        let mapping = Mapping::read_only(fd.as_fd(), len, SEALED, Some(Share::claim(len)?))?;
        Ok(Memory(Arc::new(Shared { fd: fd.accept(), mapping })))
    }

    pub(in crate::platform) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

/// Memory that can be written while others read it. Clones share one mapping and one file
/// descriptor. It is never empty.
#[derive(Clone, Debug)]
pub struct MemoryWriter(Written);

/// The same memory, read-only. Clones share one mapping and one file descriptor.
#[derive(Clone, Debug)]
pub struct MemoryReader(Written);

/// `len` bytes of a memfd that consists of whole words.
#[derive(Clone, Debug)]
struct Written {
    shared: Arc<Shared>,
    len: usize,
}

impl contract::MemoryWriter<Unix> for MemoryWriter {
    fn new(len: usize) -> io::Result<MemoryWriter> {
        let bytes = whole_words(len).ok_or(Errno::OVERFLOW)?;
        let fd = new_file("strait", bytes as u64)?;
        // `reader` adds the others.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        let mapping = Mapping::new(fd.as_fd(), 0, bytes, None)?;
        reserve(fd.as_fd(), bytes)?;
        Ok(MemoryWriter(Written { shared: Arc::new(Shared { fd, mapping }), len }))
    }

    fn size(&self) -> usize {
        self.0.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        words::read(self.0.shared.mapping.words(), offset, out);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        words::write(self.0.shared.mapping.words(), offset, bytes);
    }

    /// Returns a reader. From now on the kernel refuses writable mappings of the file, so no
    /// further process can become a writer.
    ///
    /// # Errors
    ///
    /// `Unsupported` before Linux 5.1.
    fn reader(&self) -> io::Result<MemoryReader> {
        let fd = self.0.shared.as_fd();
        let seals = SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        match rustix::fs::fcntl_add_seals(fd, seals) {
            Ok(()) => {}
            // It was sealed before, by this process or another one.
            Err(_) if self.has_readers() => {}
            Err(Errno::INVAL) => {
                let why = "memory cannot be sealed against future writing before Linux 5.1";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(MemoryReader(self.0.clone()))
    }
}

impl MemoryWriter {
    /// Maps a file that a peer sent for reading and writing, if no process can shorten it.
    pub(in crate::platform) fn from_received(fd: Received, len: u64) -> io::Result<MemoryWriter> {
        let (len, bytes) = check_written(fd.as_fd(), len)?;
        let mapping =
            Mapping::new(fd.as_fd(), 0, bytes, Some(Share::claim(bytes)?)).map_err(|error| {
                // The error of a writable mapping of a sealed file (fcntl(2)).
                if error.kind() == io::ErrorKind::PermissionDenied {
                    refuse("sealed against writing")
                } else {
                    error
                }
            })?;
        let shared = Arc::new(Shared { fd: fd.accept(), mapping });
        Ok(MemoryWriter(Written { shared, len }))
    }

    pub(in crate::platform) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0.shared)
    }

    /// Returns whether `reader` has been called, in any process.
    pub(in crate::platform) fn has_readers(&self) -> bool {
        seals(self.0.shared.as_fd()).is_ok_and(|seals| seals.contains(SealFlags::FUTURE_WRITE))
    }
}

impl contract::MemoryReader for MemoryReader {
    fn size(&self) -> usize {
        self.0.len
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        words::read(self.0.shared.mapping.words(), offset, out);
    }
}

impl MemoryReader {
    /// Maps a file that a peer sent read-only, if reads allocate nothing and cannot fail. A process
    /// that receives it from this one must not be able to write to it.
    pub(in crate::platform) fn from_received(fd: Received, len: u64) -> io::Result<MemoryReader> {
        let (len, bytes) = check_written(fd.as_fd(), len)?;
        if !seals(fd.as_fd())?.contains(SealFlags::FUTURE_WRITE) {
            return Err(refuse("not sealed against future writing"));
        }
        // Reading a hole would allocate a page, charged to this process. With this seal no process
        // can punch holes.
        let blocks = u64::try_from(rustix::fs::fstat(&fd)?.st_blocks).unwrap_or(0);
        if blocks.saturating_mul(BLOCK_BYTES) < bytes as u64 {
            return Err(refuse("not all pages are allocated"));
        }
        let share = Some(Share::claim(bytes)?);
        let mapping = Mapping::read_only(fd.as_fd(), bytes, MapFlags::SHARED, share)?;
        let shared = Arc::new(Shared { fd: fd.accept(), mapping });
        Ok(MemoryReader(Written { shared, len }))
    }

    pub(in crate::platform) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0.shared)
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The unit of `st_blocks`, whatever the file system (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Returns the bytes of the words that hold `len` bytes. These are words of 64 bits: the process at
/// the other end may have them even if this one has not.
fn whole_words(len: usize) -> Option<usize> {
    const { assert!(LARGEST_WORD % WORD_BYTES == 0) };
    len.checked_next_multiple_of(LARGEST_WORD)
}

/// The bytes of the largest word of any process.
const LARGEST_WORD: usize = 8;

/// Checks the length that a peer claims.
fn check_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).ok().filter(|&len| len > 0).ok_or_else(|| refuse("invalid length"))
}

/// Makes sure that a file that a peer sent is memory that never becomes shorter, and holds the
/// words of `len` bytes. Returns `len` and the bytes of these words.
fn check_written(fd: BorrowedFd<'_>, len: u64) -> io::Result<(usize, usize)> {
    let len = check_len(len)?;
    let bytes = whole_words(len).ok_or_else(|| refuse("invalid length"))?;
    check_file(fd)?;
    check_length(fd, bytes as u64)?;
    Ok((len, bytes))
}

fn seals(fd: BorrowedFd<'_>) -> io::Result<SealFlags> {
    Ok(rustix::fs::fcntl_get_seals(fd)?)
}

/// Writes all of `bytes` at `offset`.
fn write_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Writes `byte` for `len` times.
fn fill(fd: BorrowedFd<'_>, byte: u8, len: usize) -> io::Result<()> {
    let part = vec![byte; len.min(FILL_BYTES)];
    let mut filled = 0;
    while filled < len {
        let part = &part[..part.len().min(len - filled)];
        write_all(fd, filled as u64, part)?;
        filled += part.len();
    }
    Ok(())
}

/// Allocates the pages of a new file. If there is no memory, this is an error here, and a signal at
/// an access.
fn reserve(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let part = RESERVED_BYTES.min(len - done);
        match rustix::fs::fallocate(fd, FallocateFlags::empty(), done as u64, part as u64) {
            Ok(()) => done += part,
            Err(Errno::INTR) => {}
            // Forbidden by a sandbox.
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                return fill(fd, 0, len);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Makes a memfd that can be sealed, of `len` bytes. Its name is for people that look at the open
/// files of a process.
pub(in crate::platform) fn new_file(name: &str, len: u64) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    lengthen(fd.as_fd(), len)?;
    Ok(fd)
}

/// Makes a memfd `len` bytes long.
pub(in crate::platform) fn lengthen(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    // A memfd counts as a file, and the kernel answers exceeding the limit on files with a deadly
    // signal.
    if limits::file_size().is_some_and(|limit| len > limit) {
        return Err(rustix::io::Errno::FBIG.into());
    }
    Ok(rustix::fs::ftruncate(fd, len)?)
}

/// Checks that a file that a peer sent is memory, and never becomes shorter.
pub(in crate::platform) fn check_file(fd: BorrowedFd<'_>) -> io::Result<()> {
    // Only memfds can have this seal: other files on a tmpfs are sealed against sealing.
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| refuse("not a memfd"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(refuse("not sealed against shrinking"));
    }
    let is_ordinary = match rustix::fs::fstatfs(fd) {
        Ok(status) => i128::from(status.f_type) == i128::from(TMPFS_MAGIC),
        // A sandbox forbids the call. Huge pages cannot be mapped from the second ordinary page on.
        Err(_) => Mapping::new(fd, mapping::page_size() as u64, mapping::page_size(), None).is_ok(),
    };
    if !is_ordinary {
        return Err(refuse("not ordinary memory"));
    }
    Ok(())
}

/// Returns the length of a memfd in bytes.
pub(in crate::platform) fn length(fd: BorrowedFd<'_>) -> io::Result<u64> {
    match rustix::fs::fstat(fd) {
        Ok(status) => Ok(u64::try_from(status.st_size).unwrap_or(0)),
        // A sandbox forbids the call. Nothing relies on the position in the file.
        Err(_) => Ok(rustix::fs::seek(fd, SeekFrom::End(0))?),
    }
}

/// Checks that a file has `len` bytes.
pub(in crate::platform) fn check_length(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    if length(fd)? < len {
        return Err(refuse("shorter than announced"));
    }
    Ok(())
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("shared memory refused: {why}"))
}
