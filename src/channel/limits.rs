//! How much a peer can make this process hold, and for how long it can hold this process.

use std::time::Duration;

use super::table;

/// The largest number of bytes of a message in its encoded form: 1 GiB.
///
/// A longer message is an error where it is sent, and where it is received. Large data is better put
/// into [shared memory](crate::ipc::IpcSharedMemory).
///
/// # Examples
///
/// See [`Limits`].
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// The longest time for which [`send`](crate::ipc::IpcSender#blocking) blocks: 10 seconds.
///
/// Then it returns an error of kind [`TimedOut`](std::io::ErrorKind::TimedOut). With a
/// [bound](crate::ipc::sync_channel), `send` blocks until the receiver makes room.
///
/// # Examples
///
/// See [`IpcSender::send_timeout`](crate::ipc::IpcSender::send_timeout) for a shorter time.
pub const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of unfinished messages one receiver keeps of those that come by socket, and of those that come by shared memory.
pub const MAX_UNFINISHED_BYTES: usize = MAX_MESSAGE_BYTES;

/// How many unfinished messages one receiver keeps.
pub const MAX_UNFINISHED_MESSAGES: usize = 1024;

/// How many sending processes one receiver reads the shared memory of.
pub const DEFAULT_SHARED_MEMORIES: usize = 64;

/// How many of them it can be made to.
pub const MAX_SHARED_MEMORIES: usize = 1024;

/// How much a receiver accepts from its senders.
///
/// A message beyond a limit is lost and is one error of [`recv`](crate::ipc::IpcReceiver::recv); the
/// channel goes on. A value above the largest of a limit counts as that.
///
/// # Examples
///
/// ```
/// use strait::ipc::{ChannelOptions, Limits};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut limits = Limits::default();
/// limits.message_bytes = 1 << 20;
/// let (sender, receiver) = ChannelOptions::new().limits(limits).channel::<String>()?;
///
/// sender.send("too long ".repeat(1 << 20))?;
/// sender.send("short".to_string())?;
/// assert!(receiver.recv().is_err());
/// assert_eq!(receiver.recv()?, "short");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest number of bytes of a message in its encoded form. By default and at most
    /// [`MAX_MESSAGE_BYTES`].
    ///
    /// What the message says of its endpoints, shared memories and handles does not count, here and
    /// in [`unfinished_bytes`](Limits::unfinished_bytes): up to 24 bytes for each handle and 8 more;
    /// or, unless [`message_receivers`](Limits::message_receivers) is 0, up to 2 KiB for each handle
    /// and 1 MiB more.
    pub message_bytes: usize,
    /// The largest number of endpoints, shared memories and handles in a message, taken together. By
    /// default and at most [`MAX_MESSAGE_ATTACHMENTS`].
    ///
    /// Each counts once, whatever it consists of: on Unix, a sender into a channel with a bound is two
    /// file descriptors. What a receiver in the message has received and not delivered does not count:
    /// up to 2048 file descriptors for all receivers in the message, and none if
    /// [`message_receivers`](Limits::message_receivers) is 0.
    pub message_handles: usize,
    /// The largest number of senders in a message. By default and at most as many as
    /// [`message_handles`](Limits::message_handles); 0 refuses every message with a sender.
    pub message_senders: usize,
    /// The largest number of receivers in a message. As
    /// [`message_senders`](Limits::message_senders).
    pub message_receivers: usize,
    /// The largest number of shared memories in a message, readers and writers of shared memory
    /// included. As [`message_senders`](Limits::message_senders).
    pub message_memories: usize,
    /// The largest number of handles of the operating system, such as files, in a message. As
    /// [`message_senders`](Limits::message_senders).
    pub message_os_handles: usize,
    /// The largest number of bytes that the receiver keeps of incomplete messages: of those that come
    /// by socket, and as many of those that come by shared memory. By default and at most 1 GiB.
    ///
    /// Beyond it, the receiver drops the incomplete message whose sender was silent for longest, if
    /// that is at least one second, else the new one; or it sends the sender from shared memory back
    /// to the socket. A message longer than this is lost, unless it comes in one piece.
    pub unfinished_bytes: usize,
    /// The largest number of incomplete messages that the receiver keeps of those that come by
    /// socket. By default and at most 1024.
    pub unfinished_messages: usize,
    /// The largest number of sending processes that the receiver shares memory with at a time. By
    /// default 64, at most 1024; 0 is as
    /// [`shared_memory(false)`](crate::ipc::ChannelOptions::shared_memory).
    ///
    /// Each costs one file descriptor and up to 64 MiB of address space; the memory itself is the
    /// sender's. Messages of further processes come by socket.
    pub shared_memories: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { shared_memories: DEFAULT_SHARED_MEMORIES, ..Limits::LARGEST }
    }
}

impl Limits {
    /// The most that there can be.
    pub(crate) const LARGEST: Limits = Limits {
        message_bytes: MAX_MESSAGE_BYTES,
        message_handles: MAX_MESSAGE_ATTACHMENTS,
        message_senders: MAX_MESSAGE_ATTACHMENTS,
        message_receivers: MAX_MESSAGE_ATTACHMENTS,
        message_memories: MAX_MESSAGE_ATTACHMENTS,
        message_os_handles: MAX_MESSAGE_ATTACHMENTS,
        unfinished_bytes: MAX_UNFINISHED_BYTES,
        unfinished_messages: MAX_UNFINISHED_MESSAGES,
        shared_memories: MAX_SHARED_MEMORIES,
    };

    /// How many numbers there are.
    pub(super) const COUNT: usize = 9;

    /// All of them, in the order in which they are sent.
    pub(super) fn fields(&mut self) -> [&mut usize; Limits::COUNT] {
        // So that there is a compile error when one is added.
        let Limits {
            message_bytes,
            message_handles,
            message_senders,
            message_receivers,
            message_memories,
            message_os_handles,
            unfinished_bytes,
            unfinished_messages,
            shared_memories,
        } = self;
        [
            message_bytes,
            message_handles,
            message_senders,
            message_receivers,
            message_memories,
            message_os_handles,
            unfinished_bytes,
            unfinished_messages,
            shared_memories,
        ]
    }

    /// The lesser of each.
    pub(crate) fn at_most(mut self, mut most: Limits) -> Limits {
        for (own, most) in self.fields().into_iter().zip(most.fields()) {
            *own = (*own).min(*most);
        }
        self
    }

    /// Whether a message may have so many bytes, its [table](super::table) included, and so many attachments. Nothing more is known of
    /// one that is not complete.
    #[inline]
    pub(crate) fn admit(&self, bytes: u64, attachments: usize) -> bool {
        if attachments == 0 {
            return bytes <= self.message_bytes as u64;
        }
        let most_bytes = self.with_table(self.message_bytes, attachments);
        attachments <= self.max_attachments() && bytes <= most_bytes as u64
    }

    /// How many bytes may be waiting in unfinished messages, [tables](super::table) included, while one with so many attachments comes:
    /// its table is not to keep out a message that is as long as it may be.
    pub(crate) fn max_unfinished_bytes(&self, attachments: usize) -> usize {
        self.with_table(self.unfinished_bytes, attachments)
    }

    /// So many bytes, and the most of the table of a message with so many attachments.
    fn with_table(&self, bytes: usize, attachments: usize) -> usize {
        let has_receivers = self.message_receivers > 0;
        let table = if attachments == 0 { 0 } else { table::max_bytes(attachments, has_receivers) };
        bytes.saturating_add(table)
    }

    /// How many attachments a message has at most that carries as much as it may.
    fn max_attachments(&self) -> usize {
        let own = self.message_handles.saturating_mul(MAX_ATTACHMENTS_OF_SENDER);
        let is_alone = self.message_receivers == 0 || self.message_handles == 0;
        let brought = if is_alone { 0 } else { MAX_BROUGHT_ATTACHMENTS };
        own.saturating_add(brought).min(MAX_MESSAGE_ATTACHMENTS)
    }
}

/// Of how many attachments anything but a receiver is made at most.
const MAX_ATTACHMENTS_OF_SENDER: usize = 2;

/// How many attachments the receivers in a message bring along at most, where the limit on handles is lower.
const MAX_BROUGHT_ATTACHMENTS: usize = 2048;

/// How many bytes of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_BYTES: usize = 64 << 20;

/// How many bytes the spools of the receivers in one message have at most, taken together. What one receiver has is never as much.
pub(crate) const MAX_SPOOLED_BYTES: u64 = 4 << 30;

/// ... and how many records: one for each message, and a few more.
pub(crate) const MAX_SPOOLED_RECORDS: usize = 1 << 24;

/// How many bytes in rings become messages when the receivers in one message move. Each message counts for a few more.
pub(crate) const MAX_DRAINED_BYTES: usize = 256 << 20;

/// How many attachments of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_ATTACHMENTS: usize = 64;

/// The largest number of handles in a message: 65,536.
///
/// Endpoints and shared memories count as what they consist of: file descriptors on Unix.
///
/// # Examples
///
/// See [`Limits`].
pub const MAX_MESSAGE_ATTACHMENTS: usize = 1 << 16;

/// How many packets are taken in a row without a message to show for it before the caller is asked again.
pub(crate) const MAX_PACKETS_PER_STEP: usize = 1024;

/// How many messages a set takes from one member before the others have their turn.
pub(crate) const MESSAGES_PER_TURN: usize = 32;

/// How many messages one `select` returns at most.
pub(crate) const MAX_EVENTS_PER_SELECT: usize = 1024;

/// After how many bytes of messages one `select` returns.
pub(crate) const BYTES_PER_SELECT: usize = 8 << 20;

/// How many clients a server lets in before it looks at the clock and at those who are in.
pub(crate) const CLIENTS_PER_TURN: usize = 16;

/// After how many handles one `select` returns, so that the caller can close some before more come.
pub(crate) const ATTACHMENTS_PER_SELECT: usize = 64;
