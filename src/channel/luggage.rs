//! What goes with a receiver that moves, and how much of it.

use super::assembly::{Lost, Unfinished as UnfinishedMessage};
use super::limits::{MAX_MOVED_ATTACHMENTS, MAX_MOVED_BYTES};
use super::options::Options;
use super::permits::MovedIssuer;
use super::rings::{MovedRing, Waiting};
use crate::platform::Attachment;

/// A message of which parts are missing.
pub(crate) type Unfinished = UnfinishedMessage<Attachment>;

/// What a receiver that moves has received incompletely.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// What goes with it.
    pub(crate) carried: Vec<Unfinished>,
    /// What there is no room for: lost, unless the receiver comes back.
    pub(crate) left_behind: Vec<Unfinished>,
    /// What was lost before.
    pub(crate) lost: Vec<Lost>,
    /// The rings that it reads.
    pub(crate) rings: Vec<MovedRing>,
    /// Messages that it has received and not delivered.
    pub(crate) waiting: Vec<Waiting>,
    /// How it behaves.
    pub(crate) options: Options,
    /// What lets senders send, if the channel is bounded.
    pub(crate) issuer: Option<MovedIssuer>,
}

/// How much may go with the receivers in one message.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    attachments: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { bytes: MAX_MOVED_BYTES, attachments: MAX_MOVED_ATTACHMENTS }
    }
}

impl Room {
    /// Takes what a message needs, if there is as much.
    pub(super) fn take(&mut self, message: &Unfinished) -> bool {
        let bytes = self.bytes.checked_sub(message.bytes.len());
        let attachments = self.attachments.checked_sub(message.attachments.len());
        let (Some(bytes), Some(attachments)) = (bytes, attachments) else {
            return false;
        };
        *self = Room { bytes, attachments };
        true
    }
}
