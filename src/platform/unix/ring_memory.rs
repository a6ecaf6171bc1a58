//! The memory of rings: memfds that grow, mapped piece by piece.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{FallocateFlags, SealFlags};
use rustix::io::Errno;

use super::attachment::Received;
use super::mapping::{Mapping, Share};
use super::{limits, memory};

/// How much is mapped for the words.
const WORDS_BYTES: usize = 4096;

/// How many a process has for speed alone. Each is mapped in two pieces, so that this is half of what Linux usually lets a
/// process map: a heap and threads need some, too.
const MAX_AFFORDABLE: usize = 1 << 14;

/// One of the rings of this process, counted until it is dropped.
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

/// The memory of a ring as one side has it: its words are mapped, the rest is where it is asked for.
#[derive(Debug)]
pub struct RingMemory {
    file: Arc<OwnedFd>,
    words: Mapping,
    is_maker: bool,
    _counted: Counted,
}

impl RingMemory {
    /// Makes new memory, all zero. Forked children have none of it.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn new() -> io::Result<RingMemory> {
        let file = memory::new_file("strait-ring", WORDS_BYTES as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
        reserve(file.as_fd(), 0, WORDS_BYTES as u64)?;
        let mut words = Mapping::new(file.as_fd(), 0, WORDS_BYTES, None)?;
        words.keep_to_this_process()?;
        Ok(RingMemory { file: Arc::new(file), words, is_maker: true, _counted: Counted::new() })
    }

    /// Maps what a peer has made.
    pub(super) fn from_received(file: Received) -> io::Result<RingMemory> {
        memory::check_file(file.as_fd())?;
        memory::check_length(file.as_fd(), WORDS_BYTES as u64)?;
        let share = Share::claim(WORDS_BYTES)?;
        let words = Mapping::new(file.as_fd(), 0, WORDS_BYTES, Some(share))?;
        Ok(RingMemory {
            file: Arc::new(file.accept()),
            words,
            is_maker: false,
            _counted: Counted::new(),
        })
    }

    /// Whether this process can have it for speed alone: whether it leaves enough for what there is no other way for.
    pub fn is_affordable(&self) -> bool {
        // A new descriptor gets the lowest number that is free: as many are in use.
        let in_use = u64::try_from(self.file.as_raw_fd()).unwrap_or(u64::MAX);
        in_use < limits::descriptors() / 4 * 3 && COUNT.load(Ordering::Relaxed) <= MAX_AFFORDABLE
    }

    pub(super) fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// The word at a multiple of 8, on the first page.
    #[inline]
    pub fn word(&self, at: usize) -> &AtomicU64 {
        self.words.word(at)
    }

    /// Maps a part, which begins at a page. Whoever made the memory makes it long enough.
    ///
    /// # Errors
    ///
    /// There is no room for it in memory, or, for who has not made the memory, it is not there.
    pub fn part(&self, offset: u64, len: usize) -> io::Result<RingPart> {
        let end = offset.checked_add(len as u64).ok_or(Errno::OVERFLOW)?;
        let file = self.file.as_fd();
        if !self.is_maker {
            memory::check_length(file, end)?;
            return Mapping::new(file, offset, len, Some(Share::claim(len)?)).map(RingPart);
        }
        if memory::check_length(file, end).is_err() {
            memory::lengthen(file, end)?;
        }
        reserve(file, offset, len as u64)?;
        let mut mapping = Mapping::new(file, offset, len, None)?;
        mapping.keep_to_this_process()?;
        Ok(RingPart(mapping))
    }

    /// Gives the memory of a part back to the system. It is as it was made, then.
    pub fn give_back(&self, offset: u64, len: u64) {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // If it stays where it is, it can be used again all the same.
        let _ = rustix::fs::fallocate(&self.file, hole, offset, len);
    }

    /// Gives all memory back but that of the words, for both sides: neither will use it any more.
    pub fn give_back_all(&self) {
        if let Ok(file) = rustix::fs::fstat(&self.file) {
            let words = WORDS_BYTES as u64;
            self.give_back(words, (file.st_size as u64).saturating_sub(words));
        }
    }
}

impl AsFd for RingMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A part of the memory of a ring, mapped.
#[derive(Debug)]
pub struct RingPart(Mapping);

impl RingPart {
    /// Copies `bytes` to `at`.
    #[inline]
    pub fn write(&self, at: usize, bytes: &[u8]) {
        self.0.write(at, bytes);
    }

    /// Appends `len` bytes from `at` on to `out`, each read once.
    #[inline]
    pub fn read(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        self.0.read(at, len, out);
    }

    /// The `N` bytes from `at` on, each read once.
    #[inline]
    pub fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.read_array(at)
    }
}

/// Has the pages of a part made now, where there may be an error and not a signal because there are none.
fn reserve(file: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, len) {
            Err(Errno::INTR) => {}
            // Where a sandbox forbids it, they are made when they are needed.
            Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                return Ok(());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
