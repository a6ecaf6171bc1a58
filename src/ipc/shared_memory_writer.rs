//! Memory that a process writes while others read it.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::endpoint;
use crate::platform::{MemoryReader, MemoryWriter};

/// The size of the chunks of [`SharedMemoryReader::copy_to`].
const CHUNK_BYTES: usize = 1 << 16;

/// The writing side of shared memory that other processes read meanwhile: frames, counters, tables.
///
/// Reads and writes copy, and never borrow: the memory can change at any time, a copy cannot. A
/// read during a write can return old and new bytes (it is torn). To read whole data,
/// announce them by a message, or keep a counter beside them. These orders hold:
///
/// - A write before `send` is seen by every read after the `recv` of that message.
/// - After a read has seen a byte of one write, later reads see all earlier writes of that writer.
/// - A write changes no byte outside its range, even if another writer writes to the bytes beside
///   it, unless that writer does so without pause.
///
/// Values that lie within an aligned `usize` are not torn.
///
/// A writer can be cloned and sent, and the clones write to the same memory. After the first call
/// of [`reader`](SharedMemoryWriter::reader) the existing writers keep working, but sending one
/// fails, and receiving one that was sent before can fail. So send the writer to the process that
/// is to write, and let that process make and send the readers.
///
/// # Platform
///
/// On Linux it is a memfd whose pages are allocated when it is made. `reader` seals it with
/// `F_SEAL_FUTURE_WRITE`, which needs Linux 5.1: existing writable mappings stay, and the kernel
/// refuses new ones. A forked child inherits the writers of its parent. A process that sent a
/// writer can give pages of the memory back until there is a reader; the next access allocates them
/// again.
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
    /// `None` is the empty one.
    memory: Option<MemoryWriter>,
}

impl SharedMemoryWriter {
    /// Makes shared memory of `length` zeroed bytes.
    ///
    /// # Errors
    ///
    /// Those of the operating system, if it has no memory or handles left.
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

    /// Copies `bytes` into the memory, starting at `offset`. It makes no system call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range exceeds the memory. Nothing is written then.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        check(offset, bytes.len(), self.len())?;
        if let (Some(memory), false) = (&self.memory, bytes.is_empty()) {
            memory.write(offset, bytes);
        }
        Ok(())
    }

    /// Fills `out` with a copy of the bytes that start at `offset`. It makes no system call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range exceeds the memory. `out` is unchanged then.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        check(offset, out.len(), self.len())?;
        if let (Some(memory), false) = (&self.memory, out.is_empty()) {
            memory.read(offset, out);
        }
        Ok(())
    }

    /// Returns a reader of this memory, which can be cloned and sent. Afterwards sending a writer
    /// of this memory fails.
    ///
    /// # Errors
    ///
    /// `Unsupported` on Linux before 5.1, where the kernel cannot keep a reader from writing.
    pub fn reader(&self) -> io::Result<SharedMemoryReader> {
        let memory = self.memory.as_ref().map(MemoryWriter::reader).transpose()?;
        Ok(SharedMemoryReader { memory })
    }
}

/// The reading side of memory that a [`SharedMemoryWriter`] writes.
///
/// A process that receives a reader cannot write to the memory, whatever it does with the handle.
/// It can send the reader on.
///
/// # Platform
///
/// On Linux a received memfd is mapped read-only. It is refused if it is not sealed, or if some of
/// its pages are not allocated: so no writer can make a read fail, or allocate memory of this
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
    /// `None` is the empty one.
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

    /// Fills `out` with a copy of the bytes that start at `offset`. It makes no system call.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the range exceeds the memory. `out` is unchanged then.
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
    /// `OutOfMemory` if there is no memory for the copy.
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
    /// Those of `out`.
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

/// Makes sure that `len` bytes from `offset` on are within `size`.
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
