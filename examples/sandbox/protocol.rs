//! What parent and workers say to each other, and how much a worker may say.

use std::fs::File;

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{ChannelOptions, IpcSender, IpcSharedMemory, Limits};

use crate::confine::Measure;

/// The most words of one [`Reply::Words`].
pub(crate) const MAX_WORDS_PER_REPLY: usize = 2048;

/// After how many more bytes a worker says how many it has read, at the earliest.
pub(crate) const BYTES_PER_REPORT: u64 = 256 << 10;

/// More than the longest reply has: words of 64 bytes, with their lengths and counts.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// How the parent receives from a worker: what is longer than any reply, or has handles in it, is refused by the channel,
/// before anything is allocated for it.
pub(crate) fn from_worker() -> ChannelOptions {
    let mut limits = Limits::default();
    limits.message_bytes = MAX_MESSAGE_BYTES;
    limits.message_handles = 0;
    limits.unfinished_bytes = MAX_MESSAGE_BYTES;
    limits.unfinished_messages = 1;
    limits.shared_memories = 1;
    ChannelOptions::new().limits(limits)
}

/// The first and last message of a worker that is not about a job. It keeps the sender for as long as it lives, so the
/// parent learns of its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confined(pub(crate) Vec<Measure>);

/// What the parent tells a worker to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Comes first, once.
    Prepare {
        /// Words not worth reporting: in order, each followed by a line feed. All workers read the same memory, and none
        /// can write to it.
        stop_words: IpcSharedMemory,
        /// Whether to act as if taken over by a file that asks for it.
        drill: bool,
    },
    /// May come while the job before is not done yet.
    Count(Job),
}

/// A file to count.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Open for reading, at its beginning. The worker could not open it.
    pub(crate) file: Handle<File>,
    /// How many bytes of it count, so that a file that grows comes to an end.
    pub(crate) len: u64,
    /// Where the answer goes. No other worker has a sender for it, so none can answer in this one's place.
    pub(crate) reply: IpcSender<Reply>,
}

/// Part of the answer to a [`Job`]: any number of `Words` and `Read`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Some of the words and how often they occurred. A word may come again in another part.
    Words(Vec<(String, u64)>),
    /// How many bytes have been read, at least [`BYTES_PER_REPORT`] more than at the last time.
    Read(u64),
    /// That was all.
    Done(Totals),
    /// The file is not text.
    Binary,
    /// Reading failed with this error code. A code and no text: the parent prints it, and a terminal obeys text.
    Unreadable(i32),
}

/// How much was in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How many bytes were read.
    pub(crate) bytes: u64,
    /// How many words there were, those included that are not in the table.
    pub(crate) words: u64,
}
