//! The messages between parent and workers, and the limits of those from a worker.

use std::fs::File;

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{ChannelOptions, IpcSender, IpcSharedMemory, Limits};

use crate::confine::Measure;

/// The maximum number of words in one [`Reply::Words`].
pub(crate) const MAX_WORDS_PER_REPLY: usize = 2048;

/// The minimum number of further bytes after which a worker reports how many it has read.
pub(crate) const BYTES_PER_REPORT: u64 = 256 << 10;

/// More bytes than the longest reply has: words of 64 bytes, with their lengths and counts.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Returns the options of the channels from a worker. The channel rejects a message that is longer
/// than any reply, or has handles in it, before anything is allocated for it.
pub(crate) fn from_worker() -> ChannelOptions {
    let mut limits = Limits::default();
    limits.message_bytes = MAX_MESSAGE_BYTES;
    limits.message_handles = 0;
    limits.incomplete_bytes = MAX_MESSAGE_BYTES;
    limits.incomplete_messages = 1;
    limits.shared_memories = 1;
    ChannelOptions::new().limits(limits)
}

/// The first message of a worker, and the only one that is not about a job. The worker keeps the
/// sender until it ends, so that the parent is notified of its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confined(pub(crate) Vec<Measure>);

/// The messages from the parent to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Sent first, once.
    Prepare {
        /// Words that are not reported: sorted, each followed by a line feed. All workers read the
        /// same memory, and none can write to it.
        stop_words: IpcSharedMemory,
        /// Whether the worker acts as if taken over by a file that asks for it.
        drill: bool,
    },
    /// May be sent while the job before is not finished.
    Count(Job),
}

/// A file to count.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The file, open for reading, at its beginning. The worker could not open it.
    pub(crate) file: Handle<File>,
    /// The number of bytes to count, so that a file that grows has an end.
    pub(crate) len: u64,
    /// The sender for the answer. No other worker has a sender into this channel, so none can
    /// answer in place of this one.
    pub(crate) reply: IpcSender<Reply>,
}

/// Part of the answer to a [`Job`]: any number of `Words` and `Read`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Some of the words and how often they occurred. A word may be in another part again.
    Words(Vec<(String, u64)>),
    /// How many bytes have been read, at least [`BYTES_PER_REPORT`] more than last time.
    Read(u64),
    /// The answer is complete.
    Done(Totals),
    /// The file is not text.
    Binary,
    /// Reading failed with this error code. It is a code and not a text because the parent prints
    /// it, and a terminal obeys text.
    Unreadable(i32),
}

/// The numbers of bytes and words of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// How many bytes were read.
    pub(crate) bytes: u64,
    /// How many words there were, including those that are not in the table.
    pub(crate) words: u64,
}
