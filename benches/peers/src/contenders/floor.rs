//! The floor: two processes, a ring in shared memory each way, and nothing else. No order
//! between rings, no wake-up, no check of anything that the other process wrote, no
//! serialisation, no second sender. The difference to strait is the cost of strait's
//! guarantees. Both processes poll. It is missing in rows in which an endpoint is moved, is
//! made, or is one of many.
//!
//! One writer and one reader share a stream of bytes. Each keeps its own position and a copy of
//! the other's. The writer publishes every piece, so that copying in and copying out overlap;
//! the reader gives room back in larger steps.
//!
//! # Safety
//!
//! A [`Map`] is mapped as long as it lives, and large enough for [`Shared`] and the bytes
//! behind it. The writer writes between `tail` and `head + CAPACITY`, the reader reads between
//! `head` and `tail`, and each moves its own bound after it has copied: no byte is written
//! while it is read. The other process runs the same code; it is trusted.
#![allow(unsafe_code)]

use std::hint;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::contender::{Bytes, Channel, Contender, Home, Link, Outcome, Receiver, Sender, Start};
use crate::contenders::inherit::{bequeath, inherit};
use crate::contenders::polling::Polling;
use crate::work::record::{Record, Small};

pub struct Floor;

/// A type that may be sent as its bytes in memory.
///
/// # Safety
///
/// Its bytes must be valid in another process of the same program: no pointers, no file
/// descriptors.
pub unsafe trait Image: Copy + 'static {}

// SAFETY: a number.
unsafe impl Image for u64 {}
// SAFETY: numbers.
unsafe impl Image for Small {}
// SAFETY: numbers.
unsafe impl Image for Record {}

impl Contender for Floor {
    const NAME: &'static str = "floor (polls)";
    const HOME: Home = Home::Process;
    const POLLS: bool = true;
}

impl<T: Image> Channel<T> for Floor {
    type Sender = Writer;
    type Receiver = Reader;

    fn send(sender: &mut Writer, value: T) -> Outcome<()> {
        // SAFETY: as many bytes as the value has.
        unsafe { sender.write((&raw const value).cast(), size_of::<T>()) }
    }

    fn recv(receiver: &mut Reader) -> Outcome<Option<T>> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as many bytes as the value has.
        if !unsafe { receiver.read(value.as_mut_ptr().cast(), size_of::<T>()) } {
            return Ok(None);
        }
        // SAFETY: `T` is an image, and these are the bytes of one.
        Ok(Some(unsafe { value.assume_init() }))
    }
}

/// The cost of `Vec<u8>` if it were known to be bytes. For strait it is a value like any other.
impl Channel<Vec<u8>> for Floor {
    type Sender = Writer;
    type Receiver = Reader;

    fn send(sender: &mut Writer, value: Vec<u8>) -> Outcome<()> {
        <Self as Bytes>::send(sender, &value)
    }

    fn recv(receiver: &mut Reader) -> Outcome<Option<Vec<u8>>> {
        <Self as Bytes>::recv(receiver)
    }
}

impl<Up, Down> Link<Up, Down> for Floor
where
    Self: Channel<Up, Sender = Writer, Receiver = Reader>,
    Self: Channel<Down, Sender = Writer, Receiver = Reader>,
{
    fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
        serve(start)
    }

    fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
        join(name)
    }
}

impl Bytes for Floor {
    type Sender = Writer;
    type Receiver = Reader;

    fn serve(start: Start<'_>, _: usize) -> Outcome<(Writer, Reader)> {
        serve(start)
    }

    fn join(name: &str, _: usize) -> Outcome<(Writer, Reader)> {
        join(name)
    }

    fn send(sender: &mut Writer, bytes: &[u8]) -> Outcome<()> {
        <Self as Channel<u64>>::send(sender, bytes.len() as u64)?;
        // SAFETY: as many bytes as there are.
        unsafe { sender.write(bytes.as_ptr(), bytes.len()) }
    }

    fn recv(receiver: &mut Reader) -> Outcome<Option<Vec<u8>>> {
        let Some(length) = <Self as Channel<u64>>::recv(receiver)? else { return Ok(None) };
        let length = length as usize;
        let mut bytes = Vec::with_capacity(length);
        // SAFETY: there is room for as many bytes.
        if !unsafe { receiver.read(bytes.as_mut_ptr(), length) } {
            return Err("a message without its end".into());
        }
        // SAFETY: as many bytes were read.
        unsafe { bytes.set_len(length) };
        Ok(Some(bytes))
    }
}

fn serve(start: Start<'_>) -> Outcome<(Writer, Reader)> {
    let memory = [memory()?, memory()?];
    let ends = (Writer::new(&memory[0])?, Reader::new(&memory[1])?);
    bequeath(&memory, start)?;
    Ok(ends)
}

fn join(name: &str) -> Outcome<(Writer, Reader)> {
    let [up, down] = inherit(name)?;
    Ok((Writer::new(&down)?, Reader::new(&up)?))
}

/// Enough for a writer not to wait for the reader's every step, and small enough to stay in
/// the cache.
const CAPACITY: usize = 256 * 1024;
/// How much is copied before it is published.
const PIECE: usize = 16 * 1024;
/// How much is read before the writer is told.
const STEP: u64 = CAPACITY as u64 / 16;
/// The limits of "at once" and of a pause, in checks of the other process.
const SOON: u64 = 4;
const REST: u64 = 16;

/// The bytes of the ring follow.
#[repr(C, align(4096))]
struct Shared {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    writer_gone: AtomicBool,
    reader_gone: AtomicBool,
}

/// Two lines of the cache, since processors fetch them in pairs.
#[repr(C, align(128))]
struct Line<T>(T);

struct Map(NonNull<Shared>);

fn memory() -> Outcome<OwnedFd> {
    let memory = memfd_create("floor", MemfdFlags::CLOEXEC)?;
    ftruncate(&memory, (size_of::<Shared>() + CAPACITY) as u64)?;
    Ok(memory)
}

impl Map {
    fn new(memory: impl AsFd) -> Outcome<Self> {
        let length = size_of::<Shared>() + CAPACITY;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: at no address in particular, so it replaces nothing.
        let start = unsafe { mmap(ptr::null_mut(), length, access, flags, memory, 0) }?;
        Ok(Self(NonNull::new(start.cast()).ok_or("mapped at zero")?))
    }

    fn shared(&self) -> &Shared {
        // SAFETY: mapped, aligned to a page, and of atomics only, for which zeros are valid.
        unsafe { self.0.as_ref() }
    }

    /// Where the byte at a position lies, and how many follow it before the ring starts again.
    fn at(&self, position: u64) -> (*mut u8, usize) {
        let offset = position as usize % CAPACITY;
        let start = self.0.as_ptr().wrapping_add(1).cast::<u8>();
        (start.wrapping_add(offset), CAPACITY - offset)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let length = size_of::<Shared>() + CAPACITY;
        // SAFETY: mapped with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), length) };
    }
}

pub struct Writer {
    map: Map,
    tail: u64,
    /// The position of the reader at the last check.
    head: u64,
}

impl Writer {
    fn new(memory: impl AsFd) -> Outcome<Self> {
        Ok(Self { map: Map::new(memory)?, tail: 0, head: 0 })
    }

    /// # Safety
    ///
    /// `length` bytes can be read at `from`.
    #[inline]
    unsafe fn write(&mut self, mut from: *const u8, mut length: usize) -> Outcome<()> {
        while length > 0 {
            let room = CAPACITY - (self.tail - self.head) as usize;
            let (to, in_one_piece) = self.map.at(self.tail);
            // The first is for a small message, whose length the compiler knows.
            let piece = if room.min(in_one_piece).min(PIECE) >= length {
                length
            } else if room == 0 {
                self.wait()?;
                continue;
            } else {
                room.min(in_one_piece).min(PIECE).min(length)
            };
            // SAFETY: the caller has as many bytes, and the ring has room for them.
            unsafe { ptr::copy_nonoverlapping(from, to, piece) };
            from = from.wrapping_add(piece);
            length -= piece;
            self.tail += piece as u64;
            self.map.shared().tail.0.store(self.tail, Ordering::Release);
        }
        Ok(())
    }

    #[cold]
    fn wait(&mut self) -> Outcome<()> {
        let shared = self.map.shared();
        let mut polling = Polling::default();
        let before = self.head;
        loop {
            self.head = shared.head.0.load(Ordering::Acquire);
            if self.head != before {
                return Ok(());
            }
            if polling.pause() && shared.reader_gone.load(Ordering::Acquire) {
                return Err("the reader is gone".into());
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.map.shared().writer_gone.store(true, Ordering::Release);
    }
}

pub struct Reader {
    map: Map,
    head: u64,
    /// The position that was published to the writer.
    shown: u64,
    /// The position of the writer at the last check.
    tail: u64,
    /// More bytes came at once when the reader last ran out.
    stream: bool,
}

impl Reader {
    fn new(memory: impl AsFd) -> Outcome<Self> {
        Ok(Self { map: Map::new(memory)?, head: 0, shown: 0, tail: 0, stream: false })
    }

    /// Returns whether there was as much before the writer ended.
    ///
    /// # Safety
    ///
    /// `length` bytes can be written at `to`.
    #[inline]
    unsafe fn read(&mut self, mut to: *mut u8, mut length: usize) -> bool {
        while length > 0 {
            let ready = (self.tail - self.head) as usize;
            let (from, in_one_piece) = self.map.at(self.head);
            let piece = if ready.min(in_one_piece).min(PIECE) >= length {
                length
            } else if ready == 0 {
                if !self.wait() {
                    return false;
                }
                continue;
            } else {
                ready.min(in_one_piece).min(PIECE).min(length)
            };
            // SAFETY: the caller has room for as many bytes, and the ring has them.
            unsafe { ptr::copy_nonoverlapping(from, to, piece) };
            to = to.wrapping_add(piece);
            length -= piece;
            self.head += piece as u64;
            if self.head - self.shown >= STEP {
                self.shown = self.head;
                self.map.shared().head.0.store(self.head, Ordering::Release);
            }
        }
        true
    }

    /// A reader that keeps up with its writer gets messages one by one, and each one moves the
    /// cache line with the count between the processors. So in a stream it pauses a little and
    /// finds several.
    #[cold]
    fn wait(&mut self) -> bool {
        let shared = self.map.shared();
        let mut polling = Polling::default();
        let mut closed = false;
        if self.stream {
            (0..REST).for_each(|_| hint::spin_loop());
        }
        for look in 0.. {
            self.tail = shared.tail.0.load(Ordering::Acquire);
            if self.tail != self.head {
                self.stream = look < SOON;
                return true;
            }
            if closed {
                break;
            }
            // Bytes that were written before the end are still to be read.
            closed = polling.pause() && shared.writer_gone.load(Ordering::Acquire);
        }
        false
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.map.shared().reader_gone.store(true, Ordering::Release);
    }
}
