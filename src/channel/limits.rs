//! How much a peer can make this process hold.

/// The longest message, in bytes of its encoded form: 1 GiB. Sending a longer one is an error, receiving one, too. Large
/// data is better put into shared memory.
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// How many bytes of unfinished messages one receiver keeps of those that come by socket, and of those that come by shared memory.
pub const MAX_UNFINISHED_BYTES: usize = MAX_MESSAGE_BYTES;

/// How many unfinished messages one receiver keeps.
pub const MAX_UNFINISHED_MESSAGES: usize = 1024;

/// How many sending processes one receiver reads the shared memory of.
pub const DEFAULT_SHARED_MEMORIES: usize = 64;

/// How many of them it can be made to.
pub const MAX_SHARED_MEMORIES: usize = 1024;

/// How much a receiver takes from its senders, whatever they send.
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
    /// How many bytes a message has at most in its encoded form. A longer one is one error. At most and by default
    /// [`MAX_MESSAGE_BYTES`]: senders send nothing longer.
    pub message_bytes: usize,
    /// How many handles a message has at most. One with more is one error, and they are closed. At most and by default
    /// [`MAX_MESSAGE_ATTACHMENTS`].
    pub message_handles: usize,
    /// How many bytes are kept of messages that are not complete: of those that come by socket, and as many of those that come by shared
    /// memory. When there are more, the one that was silent longest is lost, if that is at least a second, else the newcomer; or a
    /// sender is sent back from shared memory to the socket. Messages longer than this are lost, unless they come in one piece. At
    /// most and by default 1 GiB.
    pub unfinished_bytes: usize,
    /// How many messages that came by socket and are not complete are kept. At most and by default 1024.
    pub unfinished_messages: usize,
    /// With how many sending processes the receiver shares memory at the same time: each costs one handle, and up to 64 MiB of
    /// addresses, while the memory itself is the sender's. What others send comes by socket. By default 64, at most 1024, and 0 is
    /// as [`shared_memory(false)`](crate::ipc::ChannelOptions::shared_memory).
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
        unfinished_bytes: MAX_UNFINISHED_BYTES,
        unfinished_messages: MAX_UNFINISHED_MESSAGES,
        shared_memories: MAX_SHARED_MEMORIES,
    };

    /// The lesser of each.
    pub(crate) fn at_most(self, most: Limits) -> Limits {
        Limits {
            message_bytes: self.message_bytes.min(most.message_bytes),
            message_handles: self.message_handles.min(most.message_handles),
            unfinished_bytes: self.unfinished_bytes.min(most.unfinished_bytes),
            unfinished_messages: self.unfinished_messages.min(most.unfinished_messages),
            shared_memories: self.shared_memories.min(most.shared_memories),
        }
    }
}

/// How many bytes of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_BYTES: usize = 64 << 20;

/// How many attachments of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_ATTACHMENTS: usize = 64;

/// The most attachments in one message.
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
