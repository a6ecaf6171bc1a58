//! The messages that a receiver has read ahead, and how many these may be.

use std::sync::atomic::{self, AtomicUsize};

use super::merge::Stamped;
use crate::platform::{self, Attachment};

/// With so many messages waiting, no more is read from the socket. It does not hold as many.
const MAX_QUEUED: usize = 1024;

/// ... nor with so many bytes of them, ...
const MAX_QUEUED_BYTES: usize = 1 << 20;

/// ... nor with so many attachments: they would fill the table of handles.
const MAX_QUEUED_ATTACHMENTS: usize = 64;

/// How many attachments were read ahead in this process, by all receivers.
static READ_AHEAD: AtomicUsize = AtomicUsize::new(0);

/// A message that came by socket and was not delivered.
#[derive(Debug)]
pub(crate) struct QueuedMessage<A = Attachment> {
    /// The time when it was sent.
    pub(crate) stamp: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its attachments.
    pub(crate) attachments: Vec<A>,
    /// It was longer than the limit, and nothing of it was kept.
    pub(crate) is_too_long: bool,
}

impl<A> QueuedMessage<A> {
    pub(crate) fn new(stamp: u64, bytes: Vec<u8>, attachments: Vec<A>) -> QueuedMessage<A> {
        QueuedMessage { stamp, bytes, attachments, is_too_long: false }
    }
}

impl<A> Stamped for QueuedMessage<A> {
    fn stamp(&self) -> u64 {
        self.stamp
    }

    fn set_stamp(&mut self, stamp: u64) {
        self.stamp = stamp;
    }
}

/// How much of one receiver's messages was read ahead.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    bytes: usize,
    attachments: usize,
    /// The attachments of messages that moved here with the receiver. They do not keep the socket
    /// from being read.
    moved_attachments: usize,
}

impl ReadAhead {
    /// Adds a message that came by socket.
    pub(super) fn add(&mut self, message: &QueuedMessage) {
        self.bytes += message.bytes.len();
        self.attachments += message.attachments.len();
        READ_AHEAD.fetch_add(message.attachments.len(), atomic::Ordering::Relaxed);
    }

    /// Removes a message that is delivered.
    pub(super) fn remove(&mut self, message: &QueuedMessage) {
        self.bytes -= message.bytes.len();
        self.attachments -= message.attachments.len();
        READ_AHEAD.fetch_sub(message.attachments.len(), atomic::Ordering::Relaxed);
    }

    /// Adds a message that moved here.
    pub(super) fn add_moved(&mut self, message: &QueuedMessage) {
        self.moved_attachments += message.attachments.len();
        READ_AHEAD.fetch_add(message.attachments.len(), atomic::Ordering::Relaxed);
    }

    /// Removes one of these.
    pub(super) fn remove_moved(&mut self, message: &QueuedMessage) {
        self.moved_attachments -= message.attachments.len();
        READ_AHEAD.fetch_sub(message.attachments.len(), atomic::Ordering::Relaxed);
    }

    /// Returns whether more may be read, with so many messages waiting.
    pub(super) fn may_read_more(&self, messages: usize) -> bool {
        messages < MAX_QUEUED
            && self.bytes < MAX_QUEUED_BYTES
            && (self.attachments == 0 || self.may_read_attachments())
    }

    /// Returns whether more attachments may be read. Handles belong to the process, so those that
    /// other receivers have read ahead count as well.
    fn may_read_attachments(&self) -> bool {
        self.attachments < MAX_QUEUED_ATTACHMENTS
            && READ_AHEAD.load(atomic::Ordering::Relaxed) < platform::max_kept_attachments() / 3
    }
}

/// The attachments are delivered by another receiver, or not at all.
impl Drop for ReadAhead {
    fn drop(&mut self) {
        let count = self.attachments + self.moved_attachments;
        READ_AHEAD.fetch_sub(count, atomic::Ordering::Relaxed);
    }
}
