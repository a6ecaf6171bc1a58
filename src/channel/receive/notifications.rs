//! The notifications by which senders report that they wait for a permit.

use std::mem;

/// The notifications of senders that wait for permits, as the packets of a channel have them.
#[derive(Debug, Default)]
pub(super) struct Notifications {
    use_of: NotificationUse,
    /// There was one, which the caller has not taken yet.
    is_wanted: bool,
    /// How many senders have sent one and have not sent a message yet.
    waiting_senders: usize,
}

/// What a receiver does with notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NotificationUse {
    /// Ignores them: the channel is unbounded.
    #[default]
    Ignored,
    /// Reports them to the caller.
    Reported,
    /// Reports them to the caller, and counts them: the channel is a rendezvous.
    Counted,
}

impl Notifications {
    /// Sets that notifications are reported from now on.
    pub(super) fn heed(&mut self, is_rendezvous: bool) {
        self.use_of =
            if is_rendezvous { NotificationUse::Counted } else { NotificationUse::Reported };
    }

    /// Notes a notification.
    pub(super) fn note(&mut self) {
        self.is_wanted = self.use_of != NotificationUse::Ignored;
        let waiting_senders = usize::from(self.use_of == NotificationUse::Counted);
        self.waiting_senders = self.waiting_senders.saturating_add(waiting_senders);
    }

    /// Notes that a message was received.
    pub(super) fn note_message(&mut self) {
        self.waiting_senders = self.waiting_senders.saturating_sub(1);
    }

    /// Returns whether there was a notification that was not taken. Until it is taken, the receiver
    /// does not block.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Returns whether there was a notification since the last call.
    pub(super) fn take(&mut self) -> bool {
        mem::take(&mut self.is_wanted)
    }

    /// Returns whether more senders have sent a notification of a rendezvous than have sent a
    /// message since.
    pub(super) fn has_waiting_senders(&self) -> bool {
        self.waiting_senders > 0
    }

    /// Stops expecting senders, unless there was a notification since. Returns whether some were
    /// expected.
    pub(super) fn stop_expecting_senders(&mut self) -> bool {
        !self.is_wanted && mem::take(&mut self.waiting_senders) > 0
    }
}
