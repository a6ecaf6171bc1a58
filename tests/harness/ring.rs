//! The memory of a ring, as a raw peer maps and writes it.
//!
//! # Safety
//!
//! What is mapped is as long as its file, which stays so, is accessed as atomic words only, and
//! is unmapped when it is dropped.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io;
use rustix::mm::{MapFlags, ProtFlags};
use strait::internals::frame::{Head, Kind};
use strait::internals::ring::{FIRST_LEN, Place, UNIT};
use strait::internals::{clock_domain, now};

use super::raw;

/// Kinds of records.
pub const MESSAGE: u8 = 1;
pub const FIRST: u8 = 2;
pub const MIDDLE: u8 = 3;
pub const LAST: u8 = 4;
pub const JUMP: u8 = 5;

/// The states that the receiver gives a ring.
pub const ACCEPTED: u64 = 1;

const TAIL: usize = 0;
const HEAD: usize = 128 / 8;
const STATE: usize = 256 / 8;

/// The length of the shortest memory.
const SHORTEST: usize = UNIT as usize + FIRST_LEN as usize;

/// The memory of a ring, and how far it is written.
#[derive(Debug)]
pub struct RawRing {
    file: OwnedFd,
    words: NonNull<AtomicU64>,
    mapped: usize,
    place: Place,
    base: u64,
    tail: u64,
}

// SAFETY: the region is plain memory of atomic words that belongs to no thread.
unsafe impl Send for RawRing {}
// SAFETY: what is shared of it gives out atomic words only.
unsafe impl Sync for RawRing {}

impl RawRing {
    /// Memory that has room for the first segment and no more.
    pub fn new() -> RawRing {
        RawRing::sparse(SHORTEST as u64, SHORTEST)
    }

    /// `len` bytes of memory, of which so many are mapped here.
    pub fn sparse(len: u64, mapped: usize) -> RawRing {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("hostile", flags).unwrap();
        rustix::fs::ftruncate(&file, len).unwrap();
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        RawRing::map(file, mapped).unwrap()
    }

    /// Maps the memory that a sender has made and sent.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn map(file: OwnedFd, mapped: usize) -> io::Result<RawRing> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let start = ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start =
            unsafe { rustix::mm::mmap(start, mapped, protection, MapFlags::SHARED, &file, 0)? };
        let words = NonNull::new(start.cast()).unwrap();
        Ok(RawRing { file, words, mapped, place: Place::FIRST, base: 0, tail: 0 })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: as long as the mapping, which is aligned to a page and lives as long as
        // `self`; any bytes are numbers.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.mapped / 8) }
    }

    /// The memory itself.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How many bytes of it are in memory.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        fs::metadata(path).unwrap().blocks() * 512
    }

    /// Sends it to a receiver.
    pub fn offer(&self, to: impl AsFd, has_messages: bool) {
        let kind = Kind::RingOffer { clock_domain: clock_domain().unwrap(), has_messages };
        let head = Head::new(kind, 1, 0).stamped(now());
        raw::send(to, head.as_bytes(), &[self.file()]).unwrap();
    }

    /// Writes a record behind the last one.
    pub fn write(&mut self, kind: u8, stamp: u64, body: &[u8]) {
        self.write_header(kind, stamp, body.len() as u32);
        for (index, chunk) in body.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            self.put(self.tail + 16 + 8 * index as u64, u64::from_le_bytes(bytes));
        }
        self.tail += 16 + (body.len() as u64).next_multiple_of(16);
    }

    /// Writes the header of a record whose body is what is there, if anything.
    pub fn write_sparse(&mut self, kind: u8, stamp: u64, len: u32) {
        self.write_header(kind, stamp, len);
        self.tail += 16 + u64::from(len).next_multiple_of(16);
    }

    fn write_header(&self, kind: u8, stamp: u64, len: u32) {
        self.put(self.tail, u64::from(len) | u64::from(kind) << 32);
        self.put(self.tail + 8, stamp);
    }

    fn put(&self, position: u64, word: u64) {
        let at = self.place.offset + (position - self.base) % u64::from(self.place.len);
        self.words()[at as usize / 8].store(word, Ordering::Relaxed);
    }

    /// Writes a JUMP to another place.
    pub fn jump(&mut self, place: Place) {
        let body = [&place.offset.to_le_bytes()[..], &place.len.to_le_bytes(), &[0; 4]].concat();
        self.write(JUMP, 0, &body);
        self.place = place;
        self.base = self.tail;
    }

    /// Publishes all that was written.
    pub fn publish(&self) {
        self.words()[TAIL].swap(self.tail, Ordering::AcqRel);
    }

    /// Publishes up to this position, whatever was written.
    pub fn publish_up_to(&self, position: u64) {
        self.words()[TAIL].swap(position, Ordering::AcqRel);
    }

    /// How far it is written.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The position up to which the receiver has consumed it.
    pub fn head(&self) -> &AtomicU64 {
        &self.words()[HEAD]
    }

    /// The position up to which it is published, and its bits.
    pub fn tail_word(&self) -> &AtomicU64 {
        &self.words()[TAIL]
    }

    /// The state that the receiver has given it.
    pub fn state(&self) -> &AtomicU64 {
        &self.words()[STATE]
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        // SAFETY: it is the whole mapping that was made in `map`, and nothing borrows from
        // it any more.
        unsafe { rustix::mm::munmap(self.words.as_ptr().cast(), self.mapped).unwrap() };
    }
}

/// The memory of a ring of this process, opened once more.
pub fn opened_again(number: i32) -> File {
    File::options().read(true).write(true).open(format!("/proc/self/fd/{number}")).unwrap()
}
