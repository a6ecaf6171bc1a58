//! Channels between processes. The API is that of ipc-channel, and adds what `std::sync::mpsc` has
//! beyond it.
//!
//! - [`channel`]: typed messages; [`IpcSender`], [`IpcReceiver`]
//! - [`bytes_channel`]: byte messages, without serde; [`IpcBytesSender`], [`IpcBytesReceiver`]
//! - [`sync_channel`]: bounded channels; [`IpcSyncSender`]
//! - [`ChannelOptions`]: options of a channel, such as its ordering, its limits, and shared memory
//! - [`IpcReceiverSet`]: a set of receivers, and one call that receives from all of them
//! - [`IpcOneShotServer`]: the first connection between two processes
//! - [`IpcServer`] and [`connect`]: a server that many client processes find by its
//!   [name](ServerName)
//! - [`IpcSharedMemory`]: shared memory that several processes read and no process modifies
//! - [`SharedMemoryWriter`] and [`SharedMemoryReader`]: shared memory that one process writes while
//!   others read it
//! - [`OpaqueIpcSender`], [`OpaqueIpcSyncSender`], [`OpaqueIpcReceiver`]: endpoints of channels
//!   whose message type is unknown
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
mod receiver;
pub(crate) mod server;
mod set;
mod shared_memory;
mod shared_memory_writer;
mod sync_channel;

pub use bytes::{
    BytesIntoIter, BytesIter, BytesTryIter, IpcBytesReceiver, IpcBytesSender, bytes_channel,
};
pub use channel::{IpcSender, channel};
pub use message::{EntryCounts, IpcMessage};
pub use one_shot::IpcOneShotServer;
pub use opaque::{OpaqueIpcReceiver, OpaqueIpcSender, OpaqueIpcSyncSender};
pub use options::ChannelOptions;
pub use receiver::{IntoIter, IpcReceiver, Iter, TryIter};
pub use server::{Incoming, IpcConnection, IpcServer, connect, connect_timeout};
pub use set::{IpcReceiverSet, IpcSelectionResult};
pub use shared_memory::IpcSharedMemory;
pub use shared_memory_writer::{SharedMemoryReader, SharedMemoryWriter};
pub use sync_channel::{IpcSyncSender, sync_channel};

pub use crate::channel::limits::{
    Limits, MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES, SEND_TIMEOUT,
};
pub use crate::channel::options::Ordering;
pub use crate::error::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};
pub use crate::platform::ServerName;
