//! Channels between processes, with the API of ipc-channel and what `std::sync::mpsc` has beyond it.
//!
//! - [`channel`] for typed messages: [`IpcSender`], [`IpcReceiver`]
//! - [`bytes_channel`] for bytes as they are: [`IpcBytesSender`], [`IpcBytesReceiver`]
//! - [`sync_channel`] for channels with a bound: [`IpcSyncSender`]
//! - [`ChannelOptions`] for how a channel is to behave: its order, its limits, whether it shares memory
//! - [`IpcReceiverSet`] to wait for many receivers at once
//! - [`IpcOneShotServer`] for the first connection between two processes
//! - [`IpcServer`] and [`connect`] for a service that many processes find by its [name](ServerName)
//! - [`IpcSharedMemory`] for memory that several processes see
//! - [`OpaqueIpcSender`], [`OpaqueIpcReceiver`] for endpoints whose type is not known yet

mod bytes;
mod channel;
mod message;
mod one_shot;
mod opaque;
mod options;
pub(crate) mod server;
mod set;
mod shared_memory;
mod sync_channel;

pub use bytes::{IpcBytesReceiver, IpcBytesSender, bytes_channel};
pub use channel::{IntoIter, IpcReceiver, IpcSender, Iter, TryIter, channel};
pub use message::IpcMessage;
pub use one_shot::IpcOneShotServer;
pub use opaque::{OpaqueIpcReceiver, OpaqueIpcSender};
pub use options::ChannelOptions;
pub use server::{Incoming, IpcConnection, IpcServer, connect, connect_timeout};
pub use set::{IpcReceiverSet, IpcSelectionResult};
pub use shared_memory::IpcSharedMemory;
pub use sync_channel::{IpcSyncSender, sync_channel};

pub use crate::channel::limits::{Limits, MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};
pub use crate::channel::options::Ordering;
pub use crate::error::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};
pub use crate::platform::ServerName;
