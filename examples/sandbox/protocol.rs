//! What parent and workers say to each other, and how much a worker may say.

use std::fs::File;

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{IpcSender, IpcSharedMemory};

use crate::confine::Measure;

/// The most words of one [`Reply::Words`].
pub(crate) const MAX_WORDS_PER_REPLY: usize = 2048;

/// The first and last that a worker says to its parent itself: from here on it can do no more than count. It keeps the sender for as long as it
/// lives, so the parent sees it die.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confined(pub(crate) Vec<Measure>);

/// What the parent tells a worker to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Comes first, once.
    Prepare {
        /// Words not worth reporting: in order, each followed by a line feed.
        stop_words: IpcSharedMemory,
        /// Whether to act as if taken over by a file that asks for it.
        drill: bool,
    },
    /// Comes after the answer to the job before.
    Count(Job),
}

/// A file to count.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Open for reading, at its beginning. The worker could not open it.
    pub(crate) file: Handle<File>,
    /// How many bytes of it count, so that a file that grows comes to an end.
    pub(crate) len: u64,
    /// Where the answer goes. It belongs to this job alone, so nobody can answer for another.
    pub(crate) reply: IpcSender<Reply>,
}

/// Part of the answer to a [`Job`]: any number of `Words`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Some of the words and how often they occurred. A word may come again in another part.
    Words(Vec<(String, u64)>),
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
