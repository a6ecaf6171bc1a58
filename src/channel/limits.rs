//! How much a peer can make this process hold.

/// The longest message, in bytes of its encoded form: 1 GiB. Sending a longer one is an error, receiving one, too. Large
/// data is better put into shared memory.
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// How many bytes of unfinished messages one receiver keeps of those that come by socket, and of those that come by shared memory.
pub const MAX_UNFINISHED_BYTES: usize = MAX_MESSAGE_BYTES;

/// How many unfinished messages one receiver keeps.
pub const MAX_UNFINISHED_MESSAGES: usize = 1024;

/// How many bytes of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_BYTES: usize = 64 << 20;

/// How many attachments of unfinished messages one message carries for the receivers in it.
pub(crate) const MAX_MOVED_ATTACHMENTS: usize = 64;

/// The most attachments in one message.
pub const MAX_MESSAGE_ATTACHMENTS: usize = 1 << 16;

/// How many sending processes one receiver reads the shared memory of. What others send comes by socket.
pub(crate) const MAX_RINGS: usize = 64;

/// How many packets are taken in a row without a message to show for it before the caller is asked again.
pub(crate) const MAX_PACKETS_PER_STEP: usize = 1024;

/// How many messages a set takes from one member before the others have their turn.
pub(crate) const MESSAGES_PER_TURN: usize = 32;

/// How many messages one `select` returns at most.
pub(crate) const MAX_EVENTS_PER_SELECT: usize = 1024;

/// After how many bytes of messages one `select` returns.
pub(crate) const BYTES_PER_SELECT: usize = 8 << 20;

/// How many clients of a one-shot server may be connected without having said anything.
pub(crate) const MAX_SILENT_CLIENTS: usize = 64;

/// How many clients a one-shot server lets in before it looks at the clock and at those who are in.
pub(crate) const CLIENTS_PER_TURN: usize = 16;

/// After how many handles one `select` returns, so that the caller can close some before more come.
pub(crate) const ATTACHMENTS_PER_SELECT: usize = 64;
