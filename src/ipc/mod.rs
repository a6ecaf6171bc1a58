//! Channels between processes, with the API of ipc-channel and what `std::sync::mpsc` has beyond
//! it.
//!
//! - [`channel`]: typed messages; [`IpcSender`], [`IpcReceiver`]
//! - [`bytes_channel`]: bytes as they are; [`IpcBytesSender`], [`IpcBytesReceiver`]
//! - [`sync_channel`]: a channel with a bound; [`IpcSyncSender`]
//! - [`ChannelOptions`]: the behaviour of a channel, such as its order, its limits, shared memory
//! - [`IpcReceiverSet`]: many receivers at once
//! - [`IpcOneShotServer`]: the first connection between two processes
//! - [`IpcServer`] and [`connect`]: a service that many processes find by its [name](ServerName)
//! - [`IpcSharedMemory`]: memory that several processes read, and none changes
//! - [`SharedMemoryWriter`] and [`SharedMemoryReader`]: memory that one process writes while others
//!   read
//! - [`OpaqueIpcSender`], [`OpaqueIpcSyncSender`], [`OpaqueIpcReceiver`]: endpoints of unknown
//!   types
//!
//! # Examples
//!
//! See [`channel`], and [the recipes](crate::recipes).

mod bytes;
mod channel;
mod message;
mod one_shot;
mod opaque;
mod options;
pub(crate) mod server;
mod set;
mod shared_memory;
mod shared_memory_writer;
mod sync_channel;

pub use bytes::{
    BytesIntoIter, BytesIter, BytesTryIter, IpcBytesReceiver, IpcBytesSender, bytes_channel,
};
pub use channel::{IntoIter, IpcReceiver, IpcSender, Iter, TryIter, channel};
pub use message::{Carries, IpcMessage};
pub use one_shot::IpcOneShotServer;
pub use opaque::{OpaqueIpcReceiver, OpaqueIpcSender, OpaqueIpcSyncSender};
pub use options::ChannelOptions;
pub use server::{Incoming, IpcConnection, IpcServer, connect, connect_timeout};
pub use set::{IpcReceiverSet, IpcSelectionResult};
pub use shared_memory::IpcSharedMemory;
pub use shared_memory_writer::{SharedMemoryReader, SharedMemoryWriter};
pub use sync_channel::{IpcSyncSender, sync_channel};

pub use crate::channel::limits::{
    Limits, MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES, SEND_PATIENCE,
};
pub use crate::channel::options::Ordering;
pub use crate::error::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};
pub use crate::platform::ServerName;
