//! The rings of a channel, and the messages that were read from its socket.

use super::merge::Merge;
use super::queue::{QueuedMessage, ReadAhead};
use super::rings::AttachedRings;
use crate::channel::options::Options;
use crate::channel::spin::Seen;
use crate::platform;

/// The rings of a channel, and the messages that were read from its socket.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) rings: AttachedRings,
    pub(super) merge: Merge<QueuedMessage>,
    pub(super) read_ahead: ReadAhead,
}

impl Ordered {
    /// Makes a value without rings.
    pub(super) fn new(options: Options) -> Ordered {
        Ordered {
            rings: AttachedRings::new(options),
            merge: Merge::new(options.ordering),
            read_ahead: ReadAhead::default(),
        }
    }

    /// Sets the receiver's options.
    pub(super) fn set_options(&mut self, options: Options) {
        self.rings.set_options(options);
        self.merge.set_ordering(options.ordering);
    }

    /// Returns whether there is anything but the socket.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.rings.is_in_use() || !self.merge.is_empty()
    }

    /// Adds a message that came by socket.
    pub(super) fn add(&mut self, message: QueuedMessage) {
        self.read_ahead.add(&message);
        self.merge.add(message, latest_stamp());
    }

    /// Adds the messages that had been received and not delivered when the receiver moved.
    pub(super) fn resume(&mut self, messages: Vec<QueuedMessage>) {
        messages.iter().for_each(|message| self.read_ahead.add_moved(message));
        self.merge.resume(messages, latest_stamp());
    }

    /// Retires all rings. Returns whether there is nothing left but the socket.
    pub(super) fn retire(&mut self) -> bool {
        self.rings.retire();
        !self.is_in_use()
    }

    /// Checks whether something came.
    pub(super) fn glance(&mut self) -> Seen {
        if self.merge.is_empty() { self.rings.glance() } else { Seen::Something }
    }

    /// Asks all rings to be woken. Returns `false` if there is something already.
    pub(super) fn arm(&mut self) -> bool {
        self.merge.is_empty() && self.rings.arm()
    }
}

/// Returns the greatest stamp that can be true now. Where the clock does not advance for a moment,
/// senders run ahead of it.
pub(super) fn latest_stamp() -> u64 {
    platform::now().saturating_add(platform::clock_tick())
}
