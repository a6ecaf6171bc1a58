//! Shared memory that one process writes while others read it.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::contract::{MemoryReader as _, MemoryWriter as _};
use crate::platform::{MemoryReader, MemoryWriter};

/// The size of the chunks of [`SharedMemoryReader::copy_to`].
const CHUNK_BYTES: usize = 1 << 16;

/// A writer of shared memory that other processes read meanwhile: frames, counters, tables.
///
/// Reads and writes copy, and never borrow: the memory can change at any time, a copy cannot. A
/// read during a write can be torn: it can return old and new bytes. To read consistent data,
/// announce the data by a message, or keep a counter beside the data. These orders hold:
///
/// - A write before `send` is visible to every read after the `recv` of that message.
/// - After a read has returned a byte of one write, later reads see all earlier writes of that
///   writer.
/// - A write changes no byte outside its range. This holds even if another writer writes to the
///   adjacent bytes, unless that writer does so without pause.
///
/// Reads of values that lie within an aligned `usize` are not torn.
///
/// A writer can be cloned and sent, and the clones write to the same memory. After the first call
/// of [`reader`](SharedMemoryWriter::reader) the existing writers keep working. Sending a writer
/// then fails, and receiving a writer that was sent before can fail. So send the writer to the
/// process that is to write, and let that process create and send the readers.
///
/// # Platform
///
/// On Linux it is a memfd whose pages are allocated on creation. `reader` seals it with
/// `F_SEAL_FUTURE_WRITE`, which needs Linux 5.1: existing writable mappings stay, and the kernel
/// refuses new ones. A forked child inherits the writers of its parent.
///
/// Until there is a reader, a process that has sent a writer can release pages of the memory. The
/// next access allocates them again.
///
/// On other systems, and with the feature `force-inprocess`, it is memory of this process.
///
/// # Examples
///
/// ```
/// use strait::ipc::{self, SharedMemoryReader, SharedMemoryWriter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, receiver) = ipc::channel::<SharedMemoryReader>()?;
/// let writer = SharedMemoryWriter::new(1 << 20)?;
/// sender.send(writer.reader()?)?;
///
/// // In another process:
/// let reader = receiver.recv()?;
/// let mut bytes = [0; 5];
/// reader.read_at(1000, &mut bytes)?;
/// assert_eq!(&bytes, b"\0\0\0\0\0");
///
/// # let (announce, news) = ipc::channel()?;
/// writer.write_at(1000, b"hello")?;
/// announce.send(())?;
///
/// // And there:
/// news.recv()?;
/// reader.read_at(1000, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemoryWriter {
    /// `None` if the memory is empty.
    memory: Option<MemoryWriter>,
}

impl SharedMemoryWriter {
    /// Creates shared memory of `length` zeroed bytes.
    ///
    /// # Errors
    ///
    /// - Any error of the operating system, if it has no memory or handles left.
    pub fn new(length: usize) -> io::Result<SharedMemoryWriter> {
        let memory = if length == 0 { None } else { Some(MemoryWriter::new(length)?) };
        Ok(SharedMemoryWriter { memory })
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, MemoryWriter::size)
    }

    /// Returns whether the memory has no bytes.
    pub fn is_empty(&self) -> bool {
        self.memory.is_none()
    }

    /// Copies `bytes` into the memory, starting at `offset`. Makes no system call.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range exceeds the memory. Nothing is written then.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        check(offset, bytes.len(), self.len())?;
        if let (Some(memory), false) = (&self.memory, bytes.is_empty()) {
            memory.write(offset, bytes);
        }
        Ok(())
    }

    /// Fills `out` with a copy of the bytes that start at `offset`. Makes no system call.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range exceeds the memory. `out` is unchanged then.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        check(offset, out.len(), self.len())?;
        if let (Some(memory), false) = (&self.memory, out.is_empty()) {
            memory.read(offset, out);
        }
        Ok(())
    }

    /// Creates a reader of this memory, which can be cloned and sent. Afterwards, sending a writer
    /// of this memory fails.
    ///
    /// # Errors
    ///
    /// - `Unsupported` on Linux before 5.1, where the kernel cannot prevent a reader from writing.
    pub fn reader(&self) -> io::Result<SharedMemoryReader> {
        let memory = self.memory.as_ref().map(MemoryWriter::reader).transpose()?;
        Ok(SharedMemoryReader { memory })
    }
}

/// A reader of shared memory that a [`SharedMemoryWriter`] writes.
///
/// A process that receives a reader cannot write to the memory, whatever it does with the handle.
/// It can send the reader to other processes.
///
/// # Platform
///
/// On Linux a received memfd is mapped read-only. It is rejected if it is not sealed, or if some of
/// its pages are not allocated. So no writer can make a read fail, or allocate memory of this
/// process.
///
/// # Examples
///
/// ```
/// use strait::ipc::SharedMemoryWriter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let writer = SharedMemoryWriter::new(8)?;
/// let reader = writer.reader()?;
/// writer.write_at(2, b"news")?;
/// assert_eq!(reader.to_vec()?, b"\0\0news\0\0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedMemoryReader {
    /// `None` if the memory is empty.
    memory: Option<MemoryReader>,
}

impl SharedMemoryReader {
    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, MemoryReader::size)
    }

    /// Returns whether the memory has no bytes.
    pub fn is_empty(&self) -> bool {
        self.memory.is_none()
    }

    /// Fills `out` with a copy of the bytes that start at `offset`. Makes no system call.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the range exceeds the memory. `out` is unchanged then.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        check(offset, out.len(), self.len())?;
        if let (Some(memory), false) = (&self.memory, out.is_empty()) {
            memory.read(offset, out);
        }
        Ok(())
    }

    /// Copies all bytes into a new `Vec`.
    ///
    /// # Errors
    ///
    /// - `OutOfMemory` if there is no memory for the copy.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        copy.resize(self.len(), 0);
        self.read_at(0, &mut copy)?;
        Ok(copy)
    }

    /// Writes all bytes to `out`, in chunks of 64 KiB.
    ///
    /// # Errors
    ///
    /// - Any error of `out`.
    pub fn copy_to<W: io::Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        let mut chunk = vec![0; self.len().min(CHUNK_BYTES)];
        let mut offset = 0;
        while offset < self.len() {
            let chunk_len = chunk.len().min(self.len() - offset);
            let chunk = &mut chunk[..chunk_len];
            self.read_at(offset, chunk)?;
            out.write_all(chunk)?;
            offset += chunk_len;
        }
        Ok(())
    }
}

/// Checks that `len` bytes from `offset` on are within `size`.
fn check(offset: usize, len: usize, size: usize) -> io::Result<()> {
    if offset.checked_add(len).is_some_and(|end| end <= size) {
        return Ok(());
    }
    let what = format!("{len} bytes at {offset} are not within {size} bytes of shared memory");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

impl fmt::Debug for SharedMemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryWriter").field("len", &self.len()).finish()
    }
}

impl fmt::Debug for SharedMemoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryReader").field("len", &self.len()).finish()
    }
}

impl Serialize for SharedMemoryWriter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_memory_writer(self.memory.as_ref(), serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemoryWriter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = endpoint::deserialize_memory_writer(deserializer)?;
        Ok(SharedMemoryWriter { memory })
    }
}

impl Serialize for SharedMemoryReader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        endpoint::serialize_memory_reader(self.memory.as_ref(), serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemoryReader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let memory = endpoint::deserialize_memory_reader(deserializer)?;
        Ok(SharedMemoryReader { memory })
    }
}
