//! Limits on the memory and the handles that a peer can make this process hold, and on how long it
//! can block this process.

use std::time::Duration;

use super::table;

/// The maximum size of a message in its encoded form: 1 GiB.
///
/// Sending a longer message fails, and so does receiving one. [Shared
/// memory](crate::ipc::IpcSharedMemory) suits large data better.
///
/// # Examples
///
/// See [`Limits`].
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// The maximum time for which [`send`](crate::ipc::IpcSender#blocking) blocks: 10 seconds.
///
/// After that, `send` fails with an error of kind [`TimedOut`](std::io::ErrorKind::TimedOut). On a
/// [bounded channel](crate::ipc::sync_channel), `send` blocks until there is room.
///
/// # Examples
///
/// See [`IpcSender::send_timeout`](crate::ipc::IpcSender::send_timeout) for a shorter time.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of bytes of incomplete messages that one receiver keeps: of those from the
/// socket, and as many of those from shared memory.
pub const MAX_INCOMPLETE_BYTES: usize = MAX_MESSAGE_BYTES;

/// The maximum number of incomplete messages that one receiver keeps.
pub const MAX_INCOMPLETE_MESSAGES: usize = 1024;

/// The default number of sending processes whose shared memory one receiver reads.
pub const DEFAULT_SHARED_MEMORIES: usize = 64;

/// The maximum of that number.
pub const MAX_SHARED_MEMORIES: usize = 1024;

/// Limits on what a receiver accepts from its senders.
///
/// A message that exceeds a limit is discarded, and one call of
/// [`recv`](crate::ipc::IpcReceiver::recv) returns an error for it. The channel stays connected. A
/// value above the maximum of a limit counts as that maximum.
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
    /// The maximum size of a message in its encoded form, in bytes. By default and at most
    /// [`MAX_MESSAGE_BYTES`].
    ///
    /// A message's table of its endpoints, shared memories and handles does not count, here and in
    /// [`incomplete_bytes`](Limits::incomplete_bytes). It has up to 24 bytes for each handle and 8
    /// more; or, unless [`message_receivers`](Limits::message_receivers) is 0, up to 2 KiB for each
    /// handle and 1 MiB more.
    pub message_bytes: usize,
    /// The maximum number of endpoints, shared memories and handles in a message, taken together.
    /// By default and at most [`MAX_MESSAGE_ATTACHMENTS`].
    ///
    /// Each one counts once, whatever it consists of: on Unix, a sender of a bounded channel is two
    /// file descriptors.
    ///
    /// The unreceived messages of a receiver in the message do not count. They have up to 2048 file
    /// descriptors for all receivers in the message, and none if
    /// [`message_receivers`](Limits::message_receivers) is 0.
    pub message_handles: usize,
    /// The maximum number of senders in a message. By default and at most
    /// [`message_handles`](Limits::message_handles); 0 rejects every message with a sender.
    pub message_senders: usize,
    /// The maximum number of receivers in a message. Default and maximum are as for
    /// [`message_senders`](Limits::message_senders); 0 rejects every message with a receiver.
    pub message_receivers: usize,
    /// The maximum number of shared memories in a message, including readers and writers of shared
    /// memory. Default and maximum are as for [`message_senders`](Limits::message_senders); 0
    /// rejects every message with shared memory.
    pub message_memories: usize,
    /// The maximum number of operating system handles, such as files, in a message. Default and
    /// maximum are as for [`message_senders`](Limits::message_senders); 0 rejects every message
    /// with such a handle.
    pub message_os_handles: usize,
    /// The maximum number of bytes of incomplete messages that the receiver keeps: of those from
    /// the socket, and as many of those from shared memory. By default and at most 1 GiB.
    ///
    /// Beyond this, the receiver discards the incomplete message whose sender has been silent for
    /// longest, if that is at least one second. Otherwise it discards the new message, or makes a
    /// sender that uses shared memory fall back to the socket. A message longer than this is
    /// discarded, unless it arrives in one piece.
    pub incomplete_bytes: usize,
    /// The maximum number of incomplete messages from the socket that the receiver keeps. By
    /// default and at most 1024.
    pub incomplete_messages: usize,
    /// The maximum number of sending processes that the receiver shares memory with at a time. By
    /// default 64, at most 1024; 0 has the effect of
    /// [`shared_memory(false)`](crate::ipc::ChannelOptions::shared_memory).
    ///
    /// Each of them takes one file descriptor and up to 64 MiB of address space; the memory itself
    /// counts as the sender's. Messages of further processes go through the socket.
    pub shared_memories: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { shared_memories: DEFAULT_SHARED_MEMORIES, ..Limits::LARGEST }
    }
}

impl Limits {
    /// The maximum of each limit.
    pub(crate) const LARGEST: Limits = Limits {
        message_bytes: MAX_MESSAGE_BYTES,
        message_handles: MAX_MESSAGE_ATTACHMENTS,
        message_senders: MAX_MESSAGE_ATTACHMENTS,
        message_receivers: MAX_MESSAGE_ATTACHMENTS,
        message_memories: MAX_MESSAGE_ATTACHMENTS,
        message_os_handles: MAX_MESSAGE_ATTACHMENTS,
        incomplete_bytes: MAX_INCOMPLETE_BYTES,
        incomplete_messages: MAX_INCOMPLETE_MESSAGES,
        shared_memories: MAX_SHARED_MEMORIES,
    };

    /// The number of limits.
    pub(super) const COUNT: usize = 9;

    /// All limits, in the order in which they are sent.
    pub(super) fn fields(&mut self) -> [&mut usize; Limits::COUNT] {
        // Destructured, so that a new field is a compile error here.
        let Limits {
            message_bytes,
            message_handles,
            message_senders,
            message_receivers,
            message_memories,
            message_os_handles,
            incomplete_bytes,
            incomplete_messages,
            shared_memories,
        } = self;
        [
            message_bytes,
            message_handles,
            message_senders,
            message_receivers,
            message_memories,
            message_os_handles,
            incomplete_bytes,
            incomplete_messages,
            shared_memories,
        ]
    }

    /// The smaller value of each limit.
    pub(crate) fn at_most(mut self, mut most: Limits) -> Limits {
        for (own, most) in self.fields().into_iter().zip(most.fields()) {
            *own = (*own).min(*most);
        }
        self
    }

    /// Whether a message may have this many bytes, including its [table](super::table), and this
    /// many attachments. Nothing more is known of an incomplete message.
    #[inline]
    pub(crate) fn admit(&self, bytes: u64, attachments: usize) -> bool {
        if attachments == 0 {
            return bytes <= self.message_bytes as u64;
        }
        let most_bytes = self.with_table(self.message_bytes, attachments);
        attachments <= self.max_attachments() && bytes <= most_bytes as u64
    }

    /// The maximum number of bytes in incomplete messages, including their [tables](super::table),
    /// while a message with this many attachments arrives. Its table must not keep out a message of
    /// the maximum length.
    pub(crate) fn max_incomplete_bytes(&self, attachments: usize) -> usize {
        self.with_table(self.incomplete_bytes, attachments)
    }

    /// `bytes`, plus the maximum size of the table of a message with this many attachments.
    fn with_table(&self, bytes: usize, attachments: usize) -> usize {
        let has_receivers = self.message_receivers > 0;
        let table = if attachments == 0 { 0 } else { table::max_bytes(attachments, has_receivers) };
        bytes.saturating_add(table)
    }

    /// The maximum number of attachments of a message that has as much of everything as it may.
    fn max_attachments(&self) -> usize {
        let own = self.message_handles.saturating_mul(MAX_ATTACHMENTS_OF_SENDER);
        let is_alone = self.message_receivers == 0 || self.message_handles == 0;
        let brought = if is_alone { 0 } else { MAX_BROUGHT_ATTACHMENTS };
        own.saturating_add(brought).min(MAX_MESSAGE_ATTACHMENTS)
    }
}

/// The maximum number of platform attachments that an attachment other than a receiver consists of.
const MAX_ATTACHMENTS_OF_SENDER: usize = 2;

/// The maximum number of attachments that the receivers in a message take along, where the limit on
/// handles is lower.
const MAX_BROUGHT_ATTACHMENTS: usize = 2048;

/// The maximum number of bytes of incomplete messages that one message takes along for the
/// receivers in it.
pub(crate) const MAX_MOVED_BYTES: usize = 64 << 20;

/// The maximum number of bytes in the spools of the receivers in one message, taken together. One
/// receiver never has as much.
pub(crate) const MAX_SPOOLED_BYTES: u64 = 4 << 30;

/// The maximum number of records in these spools: one for each message, and a few more.
pub(crate) const MAX_SPOOLED_RECORDS: usize = 1 << 24;

/// The maximum number of bytes in rings that become messages when the receivers in one message
/// move. Each message counts for a few bytes more.
pub(crate) const MAX_DRAINED_BYTES: usize = 256 << 20;

/// The maximum number of attachments of incomplete messages that one message takes along for the
/// receivers in it.
pub(crate) const MAX_MOVED_ATTACHMENTS: usize = 64;

/// The maximum number of attachments in a message: 65,536.
///
/// An attachment is one object of the operating system, a file descriptor on Unix. Endpoints and
/// shared memories count as the attachments that they consist of: the sender of a bounded channel
/// is two. [`Limits::message_handles`] counts such a sender once.
///
/// # Examples
///
/// See [`Limits`].
pub const MAX_MESSAGE_ATTACHMENTS: usize = 1 << 16;

/// The maximum number of packets that are received in a row without a complete message, before
/// control returns to the caller.
pub(crate) const MAX_PACKETS_PER_STEP: usize = 1024;

/// The maximum number of messages that a call which does not block skips, because they cannot be
/// decoded, and of packets without a message between them.
pub(crate) const MAX_PASSED_OVER: u64 = 1024;

/// The maximum number of messages that a set receives from one member before the next member's
/// turn.
pub(crate) const MESSAGES_PER_TURN: usize = 32;

/// The maximum number of messages that one `select` returns.
pub(crate) const MAX_EVENTS_PER_SELECT: usize = 1024;

/// The number of bytes of messages after which one `select` returns.
pub(crate) const BYTES_PER_SELECT: usize = 8 << 20;

/// The maximum number of clients that a server admits before it checks the clock and the admitted
/// clients.
pub(crate) const CLIENTS_PER_TURN: usize = 16;

/// The number of handles after which one `select` returns, so that the caller can close some before
/// more arrive.
pub(crate) const ATTACHMENTS_PER_SELECT: usize = 64;
