//! The memory of rings: sparse memfds of a fixed length, mapped piece by piece.
//!
//! Before a peer gets a ring's file, the file has its final length and is sealed against every
//! change of that. So no call here takes the lock of a file that a peer has, which the peer could
//! hold for as long as it likes. Pages are allocated through mappings. The memory goes back to the
//! system when both processes have closed the file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::{advice, memory};
use crate::platform::contract;
use crate::platform::unix::mapping::{Mapping, Share};
use crate::platform::unix::received::Received;
use crate::platform::unix::{Unix, limits};

/// How much is mapped for the words.
const WORDS_BYTES: usize = 4096;

/// The maximum length of a ring's file. It has holes: unused parts cost nothing.
const RESERVE_BYTES: u64 = 4 << 30;

/// The unit of the length, and the minimum that is worth a ring: the words and a first segment.
const UNIT_BYTES: u64 = 64 << 10;

/// Up to where a peer's file is mapped; the rest is read by calls. A peer can punch holes into the
/// mapped part, and reading them allocates pages that are charged to the reader. It is no more than
/// this for each ring.
const MAPPED_BYTES: u64 = 64 << 20;

/// The maximum number of rings that a process has for speed alone. Each is mapped in two pieces, so
/// this is half of what Linux usually lets a process map: a heap and threads need some, too.
const MAX_AFFORDABLE: usize = 1 << 14;

/// Counts a ring of this process until it is dropped.
#[derive(Debug)]
struct Counted;

static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Counted {
    fn new() -> Counted {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The memory of a ring in one process: its words are mapped, the rest is mapped on demand.
#[derive(Debug)]
pub struct RingMemory {
    file: Arc<OwnedFd>,
    len: u64,
    words: Mapping,
    is_maker: bool,
    _counted: Counted,
}

impl contract::RingMemory<Unix> for RingMemory {
    /// Makes new memory, all zero. Forked children have no copy of it.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and an error if this process may not make files that are long
    /// enough.
    fn new() -> io::Result<RingMemory> {
        // A memfd counts as a file, and the kernel answers exceeding the limit on files with a
        // deadly signal.
        let len = limits::file_size().unwrap_or(u64::MAX).min(RESERVE_BYTES);
        let len = len / UNIT_BYTES * UNIT_BYTES;
        if len < 2 * UNIT_BYTES {
            return Err(Errno::FBIG.into());
        }
        let file = memory::new_file("strait-ring", len)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let mut words = Mapping::new(file.as_fd(), 0, WORDS_BYTES, None)?;
        advice::populate(&words)?;
        advice::keep_to_this_process(&mut words)?;
        Ok(RingMemory {
            file: Arc::new(file),
            len,
            words,
            is_maker: true,
            _counted: Counted::new(),
        })
    }

    fn is_affordable(&self) -> bool {
        // A new file descriptor gets the lowest number that is free: as many are in use.
        let in_use = u64::try_from(self.file.as_raw_fd()).unwrap_or(u64::MAX);
        in_use < limits::descriptors() / 4 * 3 && COUNT.load(Ordering::Relaxed) <= MAX_AFFORDABLE
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        self.words.word(at)
    }

    fn part(&self, offset: u64, len: usize) -> io::Result<RingPart> {
        let end = offset.checked_add(len as u64).ok_or(Errno::OVERFLOW)?;
        if end > self.len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.file.as_fd();
        if self.is_maker {
            let mut mapping = Mapping::new(file, offset, len, None)?;
            advice::populate(&mapping)?;
            advice::keep_to_this_process(&mut mapping)?;
            return Ok(RingPart(Access::Mapped(mapping)));
        }
        let by_call = FilePart { file: Arc::clone(&self.file), offset, len };
        if end > MAPPED_BYTES && by_call.is_readable() {
            return Ok(RingPart(Access::ByCall(by_call)));
        }
        let mapping = Share::claim(len).and_then(|share| {
            // The peer has made sure that its pages are there.
            Mapping::new(file, offset, len, Some(share))
        });
        let is_resident = mapping.as_ref().map_or(Some(false), Mapping::is_resident);
        if is_resident != Some(false) {
            return mapping.map(Access::Mapped).map(RingPart);
        }
        if by_call.is_readable() {
            return Ok(RingPart(Access::ByCall(by_call)));
        }
        // A sandbox forbids it.
        mapping.map(Access::Mapped).map(RingPart)
    }

    /// Does nothing. Giving back the memory of a part would take the lock of the file, so it goes
    /// back with the whole ring.
    fn give_back(&self, _: u64, _: u64) {}
}

impl RingMemory {
    /// Maps the memory of a peer's ring.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it is not such memory, or can never be
    /// mapped; otherwise it cannot be mapped now. The file is returned.
    pub(in crate::platform) fn from_received(
        file: Received,
    ) -> Result<RingMemory, (io::Error, Received)> {
        match check(file.as_fd()) {
            Ok((len, words)) => Ok(RingMemory {
                file: Arc::new(file.accept()),
                len,
                words,
                is_maker: false,
                _counted: Counted::new(),
            }),
            Err(error) => Err((refuse_for_good(error), file)),
        }
    }

    pub(in crate::platform) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }
}

impl AsFd for RingMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Checks that a file that a peer sent is the memory of a ring, and maps its words. Only seals can
/// be queried without asking a file system; everything else is done only to files that have such
/// seals.
fn check(file: BorrowedFd<'_>) -> io::Result<(u64, Mapping)> {
    memory::check_file(file)?;
    let len = memory::length(file)?;
    if len < 2 * UNIT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the memory of a ring is too short",
        ));
    }
    let words = Mapping::new(file, 0, WORDS_BYTES, None)?;
    // If its maker has left a hole there, no access may find the system without memory.
    advice::populate(&words)?;
    Ok((len, words))
}

/// Converts an error into one of the file unless the cause is a lack of memory. The peer may have
/// sealed or opened the file so that it cannot be mapped, or a sandbox may forbid mapping it.
/// Neither changes later.
fn refuse_for_good(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOMEM | Errno::AGAIN) => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// A part of the memory of a ring.
#[derive(Debug)]
pub struct RingPart(Access);

#[derive(Debug)]
enum Access {
    Mapped(Mapping),
    ByCall(FilePart),
}

/// A part of a peer's file that is not mapped, because there is no room for it, or because it has
/// holes. Reading a hole by a call allocates no page, while an access to a mapped one would.
#[derive(Debug)]
struct FilePart {
    file: Arc<OwnedFd>,
    offset: u64,
    len: usize,
}

impl FilePart {
    /// Returns whether this process may read it.
    fn is_readable(&self) -> bool {
        rustix::io::pread(&self.file, &mut [0; 1], self.offset).is_ok()
    }

    /// Fills `to` from `at` on. What cannot be read is zero, which no record is.
    fn read(&self, at: usize, to: &mut [u8]) {
        assert!(at.checked_add(to.len()).is_some_and(|end| end <= self.len));
        let mut done = 0;
        while done < to.len() {
            let from = self.offset + (at + done) as u64;
            match rustix::io::pread(&self.file, &mut to[done..], from) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
                Ok(read) => done += read,
            }
        }
    }
}

impl contract::RingPart for RingPart {
    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        match &self.0 {
            Access::Mapped(mapping) => mapping.write(at, bytes),
            Access::ByCall(_) => unreachable!("parts of one's own memory are mapped"),
        }
    }

    #[inline]
    fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        match &self.0 {
            Access::Mapped(mapping) => mapping.read(at, len, out),
            Access::ByCall(part) => {
                let before = out.len();
                out.resize(before + len, 0);
                part.read(at, &mut out[before..]);
            }
        }
    }

    #[inline]
    fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        match &self.0 {
            Access::Mapped(mapping) => mapping.read_array(at),
            Access::ByCall(part) => {
                let mut bytes = [0; N];
                part.read(at, &mut bytes);
                bytes
            }
        }
    }
}
